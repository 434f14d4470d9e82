# The image of the project: the program with its kernels compiled, not run as root.
#   docker build --tag apss-fusion . && docker run apss-fusion --help
# Kernels are compiled for the kind of processor that builds the image. On another kind they are compiled anew at the
# first start of a container, which takes minutes.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

COPY requirements-runtime.lock /tmp/
RUN python -m pip install --quiet --require-hashes -r /tmp/requirements-runtime.lock

# /data: for a volume that the program may write to.
RUN useradd --uid 10001 --user-group --create-home apss && install -d -o apss -g apss /data
COPY pyproject.toml README.md LICENSE /tmp/project/
COPY topics /tmp/project/topics
COPY apss_fusion /tmp/project/apss_fusion
# Compiled kernels are good for a source file of one size and time. An image keeps times by the whole second: the files
# get such a time first. The folder of kernels must be one that the user may write to, or it is not looked at.
RUN python -m pip install --quiet --no-deps --no-build-isolation /tmp/project && rm -r /tmp/project \
 && package=$(cd / && python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/apss_fusion \
 && find "$package" -name '*.py' -exec touch -d '2026-01-01 00:00:00 UTC' {} + \
 && python -m compileall -q -f "$package" \
 && install -d -o apss -g apss "$package/__pycache__/kernels"
USER apss
WORKDIR /home/apss
RUN python -m apss_fusion.warm

# Of a worker: where its health and metrics are asked for.
ENV APSS_WORKER_HTTP_HOST=0.0.0.0 \
    APSS_WORKER_HTTP_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 CMD \
  ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['APSS_WORKER_HTTP_PORT'] + '/healthz', timeout=4)"]

ENTRYPOINT ["apss-fusion"]
CMD ["--help"]
