# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN ["python3", "-m", "venv", "/opt/venv"]
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY policies ./policies
RUN ["/opt/venv/bin/python", "-m", "pip", "install", ".[fast]"]

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="smime-gateway" \
      org.opencontainers.image.description="An S/MIME gateway in front of an MTA" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that runAsNonRoot can be checked without the image's passwd file. It writes only below its state folder.
USER 10001:10001
WORKDIR /
# Settings, policies and keys are mounted under /etc/smime-gateway; the listeners' ports are the settings' own.
EXPOSE 10025 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/healthz', timeout=4)"]
ENTRYPOINT ["smime-gateway"]
CMD ["serve", "-c", "/etc/smime-gateway/gateway.yaml"]
