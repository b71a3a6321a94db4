/* sink: takes mail over SMTP, counts it and throws it away; the far end of the measurements in this folder.
 *
 * One thread, epoll, kept connections. It offers PIPELINING, 8BITMIME, SIZE and ENHANCEDSTATUSCODES and accepts every
 * transaction whose commands come in order (RFC 5321 3.3). In mail data only CRLF ends a line and only CRLF.CRLF the
 * data (RFC 5321 4.1.1.4), wherever the borders of the chunks read fall. Two commands of its own, not advertised:
 *
 *   XSTAT   250 2.0.0 messages=N octets=N first=NS last=NS connections=N
 *           messages accepted; octets of their data, without dot-stuffing and the final dot; CLOCK_MONOTONIC, in
 *           nanoseconds, of the first MAIL and of the last final dot; connections taken
 *   XRESET  sets all of that to zero
 *
 * Refuses: a command out of order (503), an unknown one (500), a command line over 2,000 octets (500 and close), more
 * than 4,000 connections (close). Ends on SIGTERM or SIGINT, with its parent, or when its lifetime is over.
 * Known gaps: no TLS, AUTH, BDAT, VRFY; IPv4 only; addresses are not looked at; a message may have any size.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 4000,
    LINE_LIMIT = 2000,            /* RFC 5321 4.5.3.1.4 asks for 512, and more with extensions */
    REPLY_LIMIT = 8 * 1024,       /* replies that one connection may leave unread before it is dropped */
    CHUNK = 256 * 1024,           /* octets read at a time, at most */
    DUMP_LIMIT = 64 * 1024 * 1024 /* largest message kept for a dump */
};

struct connection {
    int fd;
    int closing; /* close once the replies are out */
    int waiting; /* replies did not fit the socket: nothing is read until they have left */
    int greeted, have_mail, have_rcpt, in_data;
    unsigned matched; /* octets of CRLF.CRLF that the data so far end in; survives the borders of chunks */
    uint64_t octets, dots;
    char line[LINE_LIMIT];
    size_t line_length;
    char reply[REPLY_LIMIT];
    size_t reply_length;
    unsigned long dump_number; /* 0: this message is not kept */
    char *dump;
    size_t dump_length, dump_size;
};

static struct {
    uint64_t messages, octets, first, last, connections;
} counts;

static volatile sig_atomic_t stopping;
static int poll_fd;
static unsigned open_connections;
static const char *dump_folder;
static unsigned long dump_wanted, dump_taken;
static char chunk[CHUNK];

static void stop(int number) {
    (void)number;
    stopping = 1;
}

static void die(const char *what) {
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- replies ---- */

static void say(struct connection *c, const char *text) {
    size_t length = strlen(text);
    if (c->reply_length + length > REPLY_LIMIT) {
        c->closing = 1;
        return;
    }
    memcpy(c->reply + c->reply_length, text, length);
    c->reply_length += length;
}

/* Writes what is waiting. Returns 0 when the connection is to be dropped. */
static int flush(struct connection *c) {
    size_t done = 0;
    while (done < c->reply_length) {
        ssize_t n = write(c->fd, c->reply + done, c->reply_length - done);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            break;
        else if (n == 0 || errno != EINTR)
            return 0;
    }
    c->reply_length -= done;
    memmove(c->reply, c->reply + done, c->reply_length);
    int waiting = c->reply_length > 0;
    if (!waiting && c->closing)
        return 0;
    if (waiting != c->waiting) {
        struct epoll_event event = {.events = waiting ? EPOLLOUT : EPOLLIN, .data.ptr = c};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->waiting = waiting;
    }
    return 1;
}

static void drop(struct connection *c) {
    close(c->fd); /* takes it out of the epoll set as well */
    free(c->dump);
    free(c);
    open_connections--;
}

/* ---- mail data ---- */

static void dump_begin(struct connection *c) {
    c->dump_length = 0;
    c->dump_number = dump_taken < dump_wanted ? ++dump_taken : 0;
}

static void dump_add(struct connection *c, const char *octets, size_t length) {
    if (c->dump_length + length > DUMP_LIMIT)
        c->dump_number = 0;
    if (!c->dump_number)
        return;
    if (c->dump_length + length > c->dump_size) {
        size_t size = c->dump_size ? c->dump_size : CHUNK;
        while (size < c->dump_length + length)
            size *= 2;
        char *larger = realloc(c->dump, size);
        if (!larger)
            die("memory");
        c->dump = larger;
        c->dump_size = size;
    }
    memcpy(c->dump + c->dump_length, octets, length);
    c->dump_length += length;
}

/* Writes FOLDER/NNNNNN.eml: the message as it was before dot-stuffing, without the final dot. */
static void dump_end(struct connection *c) {
    char path[4096];
    if (!c->dump_number)
        return;
    snprintf(path, sizeof path, "%s/%06lu.eml", dump_folder, c->dump_number);
    FILE *file = fopen(path, "wb");
    if (!file)
        die(path);
    size_t start = 0, length = c->dump_length - 3; /* without ".\r\n" */
    for (size_t i = 0; i < length; i++)
        if (c->dump[i] == '.' && (i == 0 || (i >= 2 && c->dump[i - 1] == '\n' && c->dump[i - 2] == '\r'))) {
            fwrite(c->dump + start, 1, i - start, file);
            start = i + 1;
        }
    fwrite(c->dump + start, 1, length - start, file);
    if (fclose(file))
        die(path);
}

/* Looks for the end of the data in one chunk; returns how many octets of it belong to the data.
 *
 * `matched` counts how much of CRLF.CRLF the data end in. It starts at 2: the line before is the DATA command, so a dot
 * that comes first stands at the start of a line. Away from a match only a CR is of interest, and memchr finds it. */
static size_t take_data(struct connection *c, const char *octets, size_t length) {
    static const char pattern[5] = "\r\n.\r\n";
    size_t i = 0;
    while (i < length) {
        if (c->matched == 0) {
            const char *cr = memchr(octets + i, '\r', length - i);
            if (!cr) {
                i = length;
                break;
            }
            i = (size_t)(cr - octets) + 1;
            c->matched = 1;
        } else if (octets[i] == pattern[c->matched]) {
            i++;
            c->matched++;
            if (c->matched == 3)
                c->dots++; /* stuffed, or the final one */
            if (c->matched == 5)
                break;
        } else {
            c->matched = octets[i] == '\r'; /* the only octet that can begin the pattern anew */
            i++;
        }
    }
    c->octets += i;
    dump_add(c, octets, i);
    return i;
}

static void end_data(struct connection *c) {
    counts.messages++;
    counts.octets += c->octets - 2 - c->dots; /* the final line is a dot, counted in dots, and CRLF */
    counts.last = monotonic();
    dump_end(c);
    c->in_data = c->have_mail = c->have_rcpt = 0;
    say(c, "250 2.0.0 taken\r\n");
}

/* ---- commands ---- */

static void begin_data(struct connection *c) {
    if (!c->have_rcpt) {
        say(c, "503 5.5.1 RCPT first\r\n");
        return;
    }
    c->in_data = 1;
    c->matched = 2;
    c->octets = c->dots = 0;
    dump_begin(c);
    say(c, "354 end with a dot on a line of its own\r\n");
}

static void tell_counts(struct connection *c) {
    char text[256];
    snprintf(text, sizeof text,
             "250 2.0.0 messages=%" PRIu64 " octets=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64 " connections=%" PRIu64
             "\r\n",
             counts.messages, counts.octets, counts.first, counts.last, counts.connections);
    say(c, text);
}

static int is(const char *line, const char *verb) {
    size_t length = strlen(verb);
    return !strncasecmp(line, verb, length) && (line[length] == 0 || line[length] == ' ' || line[length - 1] == ':');
}

static void obey(struct connection *c, const char *line) {
    if (is(line, "EHLO") || is(line, "HELO")) {
        c->greeted = 1;
        c->have_mail = c->have_rcpt = 0;
        say(c, is(line, "HELO") ? "250 sink.invalid\r\n"
                                : "250-sink.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 0\r\n"
                                  "250 ENHANCEDSTATUSCODES\r\n");
    } else if (is(line, "MAIL FROM:")) {
        if (!c->greeted || c->have_mail) {
            say(c, "503 5.5.1 out of order\r\n");
            return;
        }
        if (!counts.first)
            counts.first = monotonic();
        c->have_mail = 1;
        say(c, "250 2.1.0 ok\r\n");
    } else if (is(line, "RCPT TO:")) {
        c->have_rcpt = c->have_mail;
        say(c, c->have_mail ? "250 2.1.5 ok\r\n" : "503 5.5.1 MAIL first\r\n");
    } else if (is(line, "DATA")) {
        begin_data(c);
    } else if (is(line, "RSET")) {
        c->have_mail = c->have_rcpt = 0;
        say(c, "250 2.0.0 ok\r\n");
    } else if (is(line, "NOOP")) {
        say(c, "250 2.0.0 ok\r\n");
    } else if (is(line, "XSTAT")) {
        tell_counts(c);
    } else if (is(line, "XRESET")) {
        memset(&counts, 0, sizeof counts);
        say(c, "250 2.0.0 ok\r\n");
    } else if (is(line, "QUIT")) {
        c->closing = 1;
        say(c, "221 2.0.0 bye\r\n");
    } else {
        say(c, "500 5.5.1 unknown command\r\n");
    }
}

/* Takes octets up to the end of one command line, which may have begun in an earlier chunk; returns how many. */
static size_t take_command(struct connection *c, const char *octets, size_t length) {
    const char *lf = memchr(octets, '\n', length);
    size_t taken = lf ? (size_t)(lf - octets) + 1 : length;
    if (c->line_length + taken > LINE_LIMIT) {
        say(c, "500 5.5.2 line too long\r\n");
        c->closing = 1;
        return length;
    }
    memcpy(c->line + c->line_length, octets, taken);
    c->line_length += taken;
    if (lf) {
        size_t end = c->line_length - 1;
        if (end && c->line[end - 1] == '\r')
            end--;
        c->line[end] = 0;
        c->line_length = 0;
        obey(c, c->line);
    }
    return taken;
}

/* ---- connections ---- */

/* Returns 0 when the connection is to be dropped. */
static int take_chunk(struct connection *c) {
    ssize_t n = read(c->fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0)
        return 0;
    size_t length = (size_t)n;
    for (size_t i = 0; i < length && !c->closing;) {
        if (!c->in_data) {
            i += take_command(c, chunk + i, length - i);
            continue;
        }
        i += take_data(c, chunk + i, length - i);
        if (c->matched == 5)
            end_data(c);
    }
    return flush(c);
}

static void accept_connection(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    struct connection *c = open_connections < MAX_CONNECTIONS ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    open_connections++;
    counts.connections++;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    say(c, "220 sink.invalid ESMTP\r\n");
    if (!flush(c))
        drop(c);
}

static int listen_on(const char *address, unsigned port, unsigned *bound) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (inet_pton(AF_INET, address, &name.sin_addr) != 1) {
        errno = EINVAL;
        die(address);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)&name, &length))
        die("listen");
    *bound = ntohs(name.sin_port);
    return fd;
}

static void usage(void) {
    fputs("usage: sink [--address 127.0.0.1] [--port 0] [--dump FOLDER --count K] [--lifetime SECONDS]\n"
          "prints \"ready PORT\" when it listens\n",
          stderr);
    exit(2);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"address", 1, 0, 'a'}, {"port", 1, 0, 'p'},     {"dump", 1, 0, 'd'},
                                            {"count", 1, 0, 'c'},   {"lifetime", 1, 0, 'l'}, {0, 0, 0, 0}};
    const char *address = "127.0.0.1";
    unsigned port = 0, lifetime = 3600;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'a': address = optarg; break;
        case 'p': port = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'd': dump_folder = optarg; break;
        case 'c': dump_wanted = strtoul(optarg, NULL, 10); break;
        case 'l': lifetime = (unsigned)strtoul(optarg, NULL, 10); break;
        default: usage();
        }
    }
    if (optind != argc || (dump_wanted && !dump_folder) || port > 65535)
        usage();
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: epoll_wait returns */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    alarm(lifetime);

    int listener = listen_on(address, port, &port);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256], own = {.events = EPOLLIN, .data.ptr = NULL};
    if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &own))
        die("epoll");
    printf("ready %u\n", port);
    fflush(stdout);
    while (!stopping) {
        int ready = epoll_wait(poll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_connection(listener);
            else if (!(c->waiting ? flush(c) : take_chunk(c)))
                drop(c);
        }
    }
    return 0;
}
