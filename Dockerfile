# docker build --target cpu  -t musicgen .       docker run --rm -v "$PWD:/music" musicgen prime.mid --out new.mid
# docker build --target cuda -t musicgen:cuda .  docker run --rm --gpus all -v "$PWD:/music" musicgen:cuda --out new.mid
# The image's user has the id 1000: the mounted folder must be writable for it, or add --user "$(id -u):$(id -g)".

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/tmp/cache
RUN useradd --uid 1000 --create-home musician && install -d -o musician -g musician /music
WORKDIR /music
ENTRYPOINT ["musicgen"]
CMD ["--help"]

FROM base AS cuda
# JAX brings CUDA's libraries as wheels; the host brings the driver.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    set -- /wheels/*.whl && pip install --no-cache-dir --constraint /constraints.txt "$1[app,cuda]"
USER musician
HEALTHCHECK --interval=5m --timeout=60s CMD ["musicgen", "doctor"]

# The last target is the one that `docker build .` makes.
FROM base AS cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    set -- /wheels/*.whl && pip install --no-cache-dir --constraint /constraints.txt "$1[app]"
USER musician
HEALTHCHECK --interval=5m --timeout=60s CMD ["musicgen", "doctor"]
