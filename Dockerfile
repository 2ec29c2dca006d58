# Planimeter in a container. The home folder (images, results, SQLite) is a volume; the configuration is mounted:
#
#   docker build -t planimeter .
#   docker run -p 11112:11112 -v planimeter:/var/lib/planimeter -v ./planimeter.toml:/etc/planimeter.toml:ro planimeter
#
# Without a [[peer]] that may send, a node listens on 127.0.0.1 only, and so to nobody outside the container.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY node node
COPY models models
COPY db db
COPY config config
RUN python -m venv /opt/planimeter \
    && /opt/planimeter/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.12-slim-bookworm
# libgomp is what torch and the codecs load
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/planimeter --create-home planimeter \
    && chmod 700 /var/lib/planimeter
COPY --from=build /opt/planimeter /opt/planimeter
ENV PATH=/opt/planimeter/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PLANIMETER_CONFIG=/etc/planimeter.toml
COPY config/planimeter.toml /etc/planimeter.toml
RUN sed -i 's|^home = .*|home = "/var/lib/planimeter"|' /etc/planimeter.toml
USER planimeter
VOLUME /var/lib/planimeter
# the pages (8104) listen on 127.0.0.1 until [web] has a certificate, or a proxy in front
EXPOSE 11112 2762 8104
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["planimeter", "health"]
ENTRYPOINT ["planimeter"]
CMD ["run"]
