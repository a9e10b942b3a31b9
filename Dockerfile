# docker build --target cpu  -t musicgen .       docker run --rm -p 7860:7860 musicgen    the page, on port 7860
# docker build --target cuda -t musicgen:cuda .  docker run --rm --gpus all -p 7860:7860 musicgen:cuda
# docker run --rm -v "$PWD:/music" musicgen prime.mid --out new.mid                       any other command
# Podman and Buildah keep the health check with --format docker only.
# The image's user has the id 1000: the mounted folder must be writable for it, or add --user "$(id -u):$(id -g)".

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/tmp/cache \
    GRADIO_ANALYTICS_ENABLED=False
RUN useradd --uid 1000 --create-home musician && install -d -o musician -g musician /music
WORKDIR /music
EXPOSE 7860
ENTRYPOINT ["musicgen"]
# The page answers while the weights are being loaded, and says 503 if they cannot be.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/musicgen/health', timeout=8)"]
CMD ["app", "--host", "0.0.0.0", "--port", "7860"]

FROM base AS cuda
# JAX brings CUDA's libraries as wheels; the host brings the driver.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    set -- /wheels/*.whl && pip install --no-cache-dir --constraint /constraints.txt "$1[app,cuda]"
USER 1000

# The last target is the one that `docker build .` makes.
FROM base AS cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    set -- /wheels/*.whl && pip install --no-cache-dir --constraint /constraints.txt "$1[app]"
USER 1000
