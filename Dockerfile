# Planimeter in a container. The home folder (images, results, SQLite) is a volume; the configuration is mounted:
#
#   docker build -t planimeter .
#   docker run --read-only --tmpfs /tmp --stop-timeout 60 -p 11112:11112 -v planimeter:/var/lib/planimeter \
#       -v ./planimeter.toml:/etc/planimeter.toml:ro planimeter
#
# Without a [[peer]] that may send, a node listens on 127.0.0.1 only, and so to nobody outside the container.
# The usual torch of Python's package index brings CUDA with it: the same image runs on a GPU (`docker run --gpus all`, with
# the NVIDIA container toolkit on the machine) and without one. TORCH_INDEX names another index to look for torch in, such
# as PyTorch's own of builds for the CPU alone, which make the image some gigabytes smaller.
FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY node node
COPY models models
COPY db db
COPY config config
RUN python -m venv /opt/planimeter \
    && /opt/planimeter/bin/pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} .

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="Planimeter" \
      org.opencontainers.image.description="A DICOM node: studies in, segmentations and structured reports out. Research use; not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
# libgomp is what torch and the codecs load; its version is that of the Debian release in the first line
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 planimeter \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/planimeter --no-create-home planimeter \
    && install --directory --mode 700 --owner planimeter --group planimeter /var/lib/planimeter
COPY --from=build /opt/planimeter /opt/planimeter
# NVIDIA_*: what the NVIDIA container toolkit brings in where the container is given a GPU
ENV PATH=/opt/planimeter/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PLANIMETER_CONFIG=/etc/planimeter.toml \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY config/planimeter.toml /etc/planimeter.toml
RUN sed -i 's|^home = .*|home = "/var/lib/planimeter"|' /etc/planimeter.toml
# a number, so that Kubernetes can see that it is not root; machines that share the folder need the same one
USER 10001:10001
VOLUME /var/lib/planimeter
# the pages (8104) listen on 127.0.0.1 until [web] has a certificate, or a proxy in front
EXPOSE 11112 2762 8104
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["planimeter", "health"]
# no tini: the supervisor takes SIGTERM, passes it on and waits for its children
ENTRYPOINT ["planimeter"]
CMD ["run"]
