# gpuseg on CUDA from wheels; only the driver is the host's. docker build -f docker/cuda.Dockerfile -t gpuseg:cuda .
FROM python:3.11-slim-bookworm
ARG CUDA=12
COPY . /src
RUN PIP_CONSTRAINT="/src/constraints.txt /src/docker/cuda$CUDA.txt" pip install --no-cache-dir "/src[cuda$CUDA]" && rm -r /src
# Compiled code is kept below HOME. Whoever runs this with --user has no home of their own.
RUN install -d -m 1777 /cache /data
ENV HOME=/cache NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
USER 1000:1000
STOPSIGNAL SIGINT
ENTRYPOINT ["gpuseg"]
CMD ["--help"]
