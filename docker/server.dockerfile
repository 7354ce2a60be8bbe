# Written by docker/generate.py from docker/server.dockerfile: edit that one, then `make docs`.
# docs/images.md describes arguments, layers and sizes.
#
@usage@

# No registry is asked while this file is made, so no digest is fixed here. Fix it when you build:
# --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:…
ARG BASE_IMAGE=python:3.11-slim-bookworm
# Where things are compiled; its Python must be the base's.
ARG BUILD_IMAGE=${BASE_IMAGE}

@begin weights@
# The weights, from the build's context. `--build-context weights=DIR` takes this stage's place.
# The text file, and the brackets, keep COPY from failing where there are none: the next stage has a
# better sentence. --build-arg WEIGHTS=docker/none leaves weights out.
FROM scratch AS weights
@weights-args@
COPY docker/none/weights.txt @weights-source@ /

# Are there any? Asked before anything is installed.
FROM ${BUILD_IMAGE} AS found
@weights-args@
WORKDIR /find
COPY docker/steps/find_weights.py @catalogue@ ./
@weights-listing@
RUN --mount=type=bind,from=weights,target=/weights \
    python3 find_weights.py --weights /weights --there there \
    @find-options@ \
    --out /found.json

@end weights@
# Dependencies: the same for every model.
FROM ${BUILD_IMAGE} AS dependencies
# cpu, or cuda: torch with NVIDIA's libraries, several GB.
ARG VARIANT=cpu
# What is installed of pyproject.toml's extras.
ARG EXTRAS=@extras@
# Index of torch's CPU build; empty where pip's own configuration knows one.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
RUN command -v gcc tini-static >/dev/null || { apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev tini \
    && rm -rf /var/lib/apt/lists/*; }
COPY docker/constraints.txt docker/steps/install.py docker/steps/slim.py pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 install.py --variant "${VARIANT}" --extras "${EXTRAS}" \
    --torch-index "${TORCH_INDEX}" --into /opt/berth

# Berth itself, and its kernels for each kind of CPU that the image may meet.
FROM dependencies AS code
COPY README.md LICENSE ./
COPY src src
COPY docker/steps/install_code.py docker/steps/verify_weights.py docker/steps/healthcheck.py ./
COPY docker/kaito kaito
COPY presets presets
RUN python3 install_code.py --into /opt/berth

@begin weights@
# The weights again, now as the engine will read them: every tensor's place, shape and dtype, and a
# checksum of each, which every start of the image holds them to.
FROM code AS checked
COPY --from=found /found.json /found.json
RUN --mount=type=bind,from=weights,target=/weights \
    /opt/berth/venv/bin/python verify_weights.py --weights /weights --found /found.json \
    --out /weights.json --digests /berth-digests.json

@end weights@
FROM ${BASE_IMAGE}
RUN echo "berth:x:10001:10001:Berth:/home/berth:/usr/sbin/nologin" >> /etc/passwd \
    && echo "berth:x:10001:" >> /etc/group \
    && mkdir -p /home/berth /cache && chown 10001:10001 /home/berth /cache
@begin weights@
# Below the code, so that a new version of Berth does not push them again.
COPY --from=weights --chown=10001:10001 / @home@/weights/
@end weights@
@begin no-weights@
# Nothing but the note: weights are mounted here, or a model is named and pulled to /cache.
COPY --chmod=0644 docker/none/weights.txt @home@/weights/
@end no-weights@
COPY --from=dependencies /opt/berth/torch /opt/berth/torch
COPY --from=dependencies /opt/berth/venv /opt/berth/venv
COPY --from=dependencies /usr/bin/tini-static /usr/bin/tini
# The models that need no download, in the catalogue's place for them; and below the code too.
COPY --from=code /opt/berth/built-in /opt/berth/code/presets
COPY --from=code /opt/berth/code /opt/berth/code
@begin weights@
COPY --from=checked --chmod=0644 /weights.json /opt/berth/weights.json
COPY --from=checked --chmod=0644 /berth-digests.json @home@/weights/
@end weights@
@launcher@
ENV PATH=@path@/opt/berth/code/bin:/opt/berth/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    BERTH_KERNELS=/opt/berth/code/kernels \
    BERTH_PRESETS=/opt/berth/code/presets \
    BERTH_HOST=0.0.0.0 \
    BERTH_PORT=5000 \
    BERTH_DEGREE=auto
@model-env@

# After everything that is stored: these change nothing but the image's description.
ARG VERSION=@version@
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="@title@" \
      org.opencontainers.image.description="@description@" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="@licences@" \
      berth.model="@model@"
USER 10001:10001
WORKDIR @home@
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["/opt/berth/venv/bin/python", "-I", "-S", "/opt/berth/code/healthcheck.py"]
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/berth/code/bin/berth", "serve"]
