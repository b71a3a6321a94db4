/* load: sends one message many times over kept SMTP connections; the near end of the measurements in this folder.
 *
 * One thread, epoll. All sessions are opened and greeted first; then the clock starts and each session runs one mail
 * transaction after the other on its connection until all messages are sent (RFC 5321 3.3). MAIL, RCPT and DATA go out
 * in one group where PIPELINING is offered (RFC 2920 3.1), otherwise one by one. Each message gets a Message-ID of its
 * own in front of the file's octets, as real mail has; the rest is dot-stuffed once, at start. Every reply is read whole
 * and its code checked. Latency is from the final dot, handed to the kernel, to the end of its reply.
 *
 * Prints one JSON object: messages (accepted), errors (messages that were not), samples (the first few things that went
 * wrong), timed_out, seconds (first MAIL to last final reply), started_ns and ended_ns (CLOCK_MONOTONIC),
 * message_octets (of the file), sessions, reconnects, pipelining, latency_ms {p50, p95, p99, max}.
 * Exit status 0: all accepted; 1: not all; 2: usage or unreadable file.
 *
 * A refused MAIL, RCPT or DATA costs that message and an RSET; a lost connection costs its message and is opened again,
 * at most 100 times in all. Refuses a file with a line that does not end in CRLF.
 * Known gaps: no TLS, no AUTH; IPv4 only; SIZE is given where offered, BODY never (the file is meant to be 7bit).
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
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_SESSIONS = 1000,
    MAX_MESSAGES = 10 * 1000 * 1000,
    MAX_RECIPIENTS = 16,
    MAX_COMMANDS = MAX_RECIPIENTS + 2, /* MAIL, RCPT…, DATA */
    REPLY_LIMIT = 16 * 1024,
    SAMPLES = 5,
    RECONNECTS = 100
};

enum state { CLOSED, GREETING, EHLO, READY, ENVELOPE, CONTENT, FINAL_DOT, RESET, QUITTING };

struct session {
    int fd;
    enum state state;
    int pipelining, size;
    unsigned sent, answered; /* of the commands */
    int refused;             /* one of them was */
    char prefix[128];        /* the Message-ID of this message */
    size_t prefix_length, written;
    uint64_t dot_at;
    char input[REPLY_LIMIT];
    size_t input_length;
};

static struct {
    struct sockaddr_in server;
    const char *helo, *from, *to[MAX_RECIPIENTS];
    unsigned recipients, sessions;
    unsigned long messages, timeout;
} wanted = {.helo = "load.invalid", .sessions = 10, .messages = 1000, .timeout = 120};

static struct {
    char *octets; /* dot-stuffed, with the final dot */
    size_t length, plain_length;
} content;

static struct {
    unsigned long begun, accepted, reconnects;
    uint64_t started, ended;
    char sample[SAMPLES][256];
    unsigned samples;
    int pipelining;
} run;

static struct session *sessions;
static double *latency; /* milliseconds, one for each accepted message */
static int poll_fd;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the message ---- */

static void read_content(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status))
        die(path);
    size_t length = (size_t)status.st_size, out = 0;
    char *plain = malloc(length + 1), *stuffed = malloc(2 * length + 8);
    if (!plain || !stuffed || fread(plain, 1, length, file) != length)
        die(path);
    fclose(file);
    for (size_t i = 0; i < length; i++) {
        int line_start = i == 0 || plain[i - 1] == '\n';
        if ((plain[i] == '\n' && (i == 0 || plain[i - 1] != '\r')) ||
            (plain[i] == '\r' && (i + 1 == length || plain[i + 1] != '\n')) || (i + 1 == length && plain[i] != '\n')) {
            fprintf(stderr, "load: %s: every line must end in CRLF (octet %zu)\n", path, i);
            exit(2);
        }
        if (line_start && plain[i] == '.')
            stuffed[out++] = '.';
        stuffed[out++] = plain[i];
    }
    memcpy(stuffed + out, ".\r\n", 3);
    free(plain);
    content.octets = stuffed;
    content.length = out + 3;
    content.plain_length = length;
}

/* ---- sessions ---- */

static void watch(struct session *s, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = s};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, s->fd, &event);
}

static void note(const char *what, const char *detail) {
    if (run.samples == SAMPLES)
        return;
    char *to = run.sample[run.samples++];
    snprintf(to, sizeof run.sample[0], "%s: %s", what, detail);
    for (; *to; to++) /* it goes into JSON as it is */
        if (*to < ' ' || *to == '"' || *to == '\\' || *to == 127)
            *to = ' ';
}

static void open_session(struct session *s) {
    struct timeval patience = {.tv_sec = 5}; /* for connect(); everything else does not wait */
    int one = 1;
    memset(s, 0, sizeof *s);
    s->state = GREETING;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&wanted.server, sizeof wanted.server)) {
        note("connect", strerror(errno));
        if (s->fd >= 0)
            close(s->fd);
        s->state = CLOSED;
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, s->fd, &event);
}

static int more_to_send(void) { return run.begun < wanted.messages; }

/* The connection is of no more use; what was under way on it is an error. */
static void lose(struct session *s, const char *why) {
    static const char *const at[] = {"closed", "greeting", "EHLO", "ready", "envelope", "data", "final dot", "RSET", "QUIT"};
    if (s->state != QUITTING && (s->state >= ENVELOPE || more_to_send()))
        note(at[s->state], why);
    close(s->fd);
    s->state = CLOSED;
    if (run.started && more_to_send() && run.reconnects < RECONNECTS) {
        run.reconnects++;
        open_session(s);
    }
}

/* Commands are far smaller than a socket buffer that has been drained, so a short write means a broken peer. */
static int send_text(struct session *s, const char *text, size_t length) {
    if (send(s->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length)
        return 1;
    lose(s, "cannot send");
    return 0;
}

static size_t command(const struct session *s, unsigned number, char *to, size_t room) {
    int n;
    if (number == 0 && s->size)
        n = snprintf(to, room, "MAIL FROM:<%s> SIZE=%zu\r\n", wanted.from, s->prefix_length + content.plain_length);
    else if (number == 0)
        n = snprintf(to, room, "MAIL FROM:<%s>\r\n", wanted.from);
    else if (number <= wanted.recipients)
        n = snprintf(to, room, "RCPT TO:<%s>\r\n", wanted.to[number - 1]);
    else
        n = snprintf(to, room, "DATA\r\n");
    return n < 0 || (size_t)n >= room ? 0 : (size_t)n;
}

static void send_commands(struct session *s) {
    char text[MAX_COMMANDS * 600];
    size_t length = 0;
    do
        length += command(s, s->sent++, text + length, sizeof text - length);
    while (s->pipelining && s->sent < wanted.recipients + 2);
    send_text(s, text, length);
}

static void begin_message(struct session *s) {
    if (!more_to_send()) {
        s->state = QUITTING;
        send_text(s, "QUIT\r\n", 6);
        return;
    }
    s->state = ENVELOPE;
    s->sent = s->answered = 0;
    s->refused = 0;
    s->written = 0;
    s->prefix_length = (size_t)snprintf(s->prefix, sizeof s->prefix, "Message-ID: <%d.%" PRIu64 ".%lu@load.invalid>\r\n",
                                        (int)getpid(), run.started, run.begun++);
    send_commands(s);
}

static void write_content(struct session *s) {
    size_t total = s->prefix_length + content.length;
    while (s->written < total) {
        size_t ahead = s->written < s->prefix_length ? s->prefix_length - s->written : 0;
        size_t offset = ahead ? 0 : s->written - s->prefix_length;
        struct iovec parts[2] = {{s->prefix + s->written, ahead}, {content.octets + offset, content.length - offset}};
        struct msghdr message = {.msg_iov = ahead ? parts : parts + 1, .msg_iovlen = ahead ? 2 : 1};
        ssize_t n = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (s->state != CONTENT) {
                s->state = CONTENT;
                watch(s, EPOLLIN | EPOLLOUT);
            }
            return;
        }
        if (n <= 0) {
            lose(s, strerror(errno));
            return;
        }
        s->written += (size_t)n;
    }
    if (s->state == CONTENT)
        watch(s, EPOLLIN);
    s->state = FINAL_DOT;
    s->dot_at = monotonic();
}

/* ---- replies ---- */

static void take_envelope_reply(struct session *s, int code, const char *text) {
    unsigned last = wanted.recipients + 1;
    int data = s->answered++ == last;
    if (code != (data ? 354 : 250) && !(code == 251 && !data)) {
        if (!s->refused)
            note(data ? "DATA" : "envelope", text);
        s->refused = 1;
    }
    if (!data && s->answered == s->sent && !s->refused) {
        send_commands(s); /* without PIPELINING: the next one */
    } else if (data && code == 354 && s->refused) {
        lose(s, "354 after a refusal");
    } else if (s->answered == s->sent && s->refused) {
        s->state = RESET;
        send_text(s, "RSET\r\n", 6);
    } else if (data) {
        write_content(s);
    }
}

static void take_final_reply(struct session *s, int code, const char *text) {
    uint64_t now = monotonic();
    run.ended = now;
    if (code == 250)
        latency[run.accepted++] = (double)(now - s->dot_at) / 1e6;
    else
        note("final dot", text);
    begin_message(s);
}

/* `text` is one whole reply, its lines ended by CRLF, the last one by NUL. */
static void take_reply(struct session *s, int code, const char *text) {
    static const int hello[] = {[GREETING] = 220, [EHLO] = 250, [RESET] = 250};
    switch (s->state) {
    case GREETING:
    case EHLO:
    case RESET:
        if (code != hello[s->state]) {
            lose(s, text);
        } else if (s->state == GREETING) {
            char line[300];
            s->state = EHLO;
            send_text(s, line, (size_t)snprintf(line, sizeof line, "EHLO %.255s\r\n", wanted.helo));
        } else if (s->state == EHLO) {
            run.pipelining = s->pipelining = strcasestr(text, "PIPELINING") != NULL;
            s->size = strcasestr(text, "-SIZE") || strcasestr(text, " SIZE");
            s->state = READY;
            if (run.started)
                begin_message(s);
        } else {
            begin_message(s);
        }
        break;
    case ENVELOPE: take_envelope_reply(s, code, text); break;
    case FINAL_DOT: take_final_reply(s, code, text); break;
    case QUITTING: close(s->fd); s->state = CLOSED; break;
    default: lose(s, text); /* nothing was asked: 421, or nonsense */
    }
}

/* Length of the first whole reply (RFC 5321 4.2.1) in the input, 0 when it is not all there yet, -1 when it is none. */
static long reply_length(const char *input, size_t length) {
    size_t start = 0;
    for (;;) {
        const char *lf = memchr(input + start, '\n', length - start);
        if (!lf)
            return 0;
        size_t end = (size_t)(lf - input) + 1;
        if (end - start < 5 || input[end - 2] != '\r' || input[start] < '2' || input[start] > '5' ||
            memcmp(input, input + start, 3))
            return -1;
        for (size_t i = start; i < start + 3; i++)
            if (input[i] < '0' || input[i] > '9')
                return -1;
        if (input[start + 3] == ' ' || input[start + 3] == '\r')
            return (long)end;
        if (input[start + 3] != '-')
            return -1;
        start = end;
    }
}

static void read_replies(struct session *s) {
    ssize_t n = recv(s->fd, s->input + s->input_length, REPLY_LIMIT - s->input_length, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(s, n ? strerror(errno) : "connection closed");
        return;
    }
    s->input_length += (size_t)n;
    int fd = s->fd;
    while (s->state != CLOSED && s->fd == fd && s->input_length) {
        char text[REPLY_LIMIT];
        long length = reply_length(s->input, s->input_length);
        if (length < 0 || (length == 0 && s->input_length == REPLY_LIMIT)) {
            lose(s, "not an SMTP reply");
            return;
        }
        if (length == 0)
            return;
        memcpy(text, s->input, (size_t)length - 2);
        text[length - 2] = 0;
        s->input_length -= (size_t)length;
        memmove(s->input, s->input + length, s->input_length);
        take_reply(s, atoi(text), text);
    }
}

/* ---- the run ---- */

/* Starts the clock once every session is greeted or lost. Returns 0 when none is left to work with. */
static int start_when_ready(void) {
    unsigned ready = 0, open = 0;
    for (unsigned i = 0; i < wanted.sessions; i++) {
        ready += sessions[i].state == READY;
        open += sessions[i].state != CLOSED;
    }
    if (!run.started && open && ready == open) {
        run.started = run.ended = monotonic();
        for (unsigned i = 0; i < wanted.sessions; i++)
            if (sessions[i].state == READY)
                begin_message(&sessions[i]);
    }
    return open > 0;
}

/* Returns 0 when the time was up first. */
static int work(void) {
    struct epoll_event events[256];
    uint64_t deadline = monotonic() + wanted.timeout * 1000000000u;
    while (start_when_ready()) {
        uint64_t now = monotonic();
        if (now >= deadline)
            return 0;
        int count = epoll_wait(poll_fd, events, 256, (int)((deadline - now) / 1000000u) + 1);
        for (int i = 0; i < count; i++) {
            struct session *s = events[i].data.ptr;
            if (s->state != CLOSED && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_replies(s);
            if (s->state == CONTENT)
                write_content(s);
        }
    }
    return 1;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank. */
static double percentile(double share) {
    if (!run.accepted)
        return 0;
    unsigned long rank = (unsigned long)(share * (double)run.accepted + 0.9999999);
    return latency[rank ? rank - 1 : 0];
}

static void print_result(int timed_out) {
    qsort(latency, run.accepted, sizeof *latency, ascending);
    printf("{\"messages\": %lu, \"errors\": %lu, \"samples\": [", run.accepted, wanted.messages - run.accepted);
    for (unsigned i = 0; i < run.samples; i++)
        printf("%s\"%s\"", i ? ", " : "", run.sample[i]);
    printf("], \"timed_out\": %s, \"seconds\": %.6f, \"started_ns\": %" PRIu64 ", \"ended_ns\": %" PRIu64
           ", \"message_octets\": %zu, \"sessions\": %u, \"reconnects\": %lu, \"pipelining\": %s, "
           "\"latency_ms\": {\"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"max\": %.3f}}\n",
           timed_out ? "true" : "false", (double)(run.ended - run.started) / 1e9, run.started, run.ended,
           content.plain_length, wanted.sessions, run.reconnects, run.pipelining ? "true" : "false", percentile(0.5),
           percentile(0.95), percentile(0.99), percentile(1.0));
}

static void usage(void) {
    fputs("usage: load --port N --file F.eml --from A --to B [--to B2] [--address 127.0.0.1] [--sessions 10]\n"
          "            [--messages 1000] [--timeout SECONDS] [--helo NAME]\n",
          stderr);
    exit(2);
}

static void read_options(int argc, char **argv) {
    static const struct option options[] = {
        {"address", 1, 0, 'a'},  {"port", 1, 0, 'p'},    {"file", 1, 0, 'f'}, {"from", 1, 0, 'm'}, {"to", 1, 0, 'r'},
        {"sessions", 1, 0, 's'}, {"messages", 1, 0, 'n'}, {"timeout", 1, 0, 't'}, {"helo", 1, 0, 'h'}, {0, 0, 0, 0}};
    const char *address = "127.0.0.1", *file = NULL;
    unsigned long port = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'a': address = optarg; break;
        case 'p': port = strtoul(optarg, NULL, 10); break;
        case 'f': file = optarg; break;
        case 'm': wanted.from = optarg; break;
        case 's': wanted.sessions = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'n': wanted.messages = strtoul(optarg, NULL, 10); break;
        case 't': wanted.timeout = strtoul(optarg, NULL, 10); break;
        case 'h': wanted.helo = optarg; break;
        case 'r':
            if (wanted.recipients == MAX_RECIPIENTS || strlen(optarg) > 500)
                usage();
            wanted.to[wanted.recipients++] = optarg;
            break;
        default: usage();
        }
    }
    wanted.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (optind != argc || !port || port > 65535 || !file || !wanted.from || strlen(wanted.from) > 500 ||
        !wanted.recipients || !wanted.sessions || wanted.sessions > MAX_SESSIONS || !wanted.messages ||
        wanted.messages > MAX_MESSAGES || !wanted.timeout || inet_pton(AF_INET, address, &wanted.server.sin_addr) != 1)
        usage();
    read_content(file);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sessions = calloc(wanted.sessions, sizeof *sessions);
    latency = calloc(wanted.messages, sizeof *latency);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!sessions || !latency || poll_fd < 0)
        die("start");
    for (unsigned i = 0; i < wanted.sessions; i++)
        open_session(&sessions[i]);
    int finished = work();
    print_result(!finished);
    return run.accepted == wanted.messages ? 0 : 1;
}
