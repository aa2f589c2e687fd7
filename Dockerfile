# torchd for CPU: `docker build --target cpu -t torchd:cpu .`, then
#   docker run -p 8000:8000 -p 8001:8001 -v "$PWD/models:/models:ro" torchd:cpu
#
# BASE: any image of Debian 12. PyPI's torch is built for CUDA as well; a build for CPU alone comes
# with --build-arg TORCH_INDEX_URL=<PyTorch's CPU wheel index>.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
      --no-install-recommends g++ cmake ninja-build mold pkg-config python3-venv ca-certificates \
      libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev \
      prometheus-cpp-dev libmicrohttpd-dev libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev \
      libjpeg62-turbo-dev libspng-dev libwebp-dev libicu-dev libgtest-dev libgmock-dev libbenchmark-dev && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/requirements/build.txt scripts/venv.sh scripts/
ARG TORCH_INDEX_URL=
RUN mkdir scripts/requirements && mv scripts/build.txt scripts/requirements/ && \
    PIP_NO_CACHE_DIR=1 TORCH_INDEX_URL="${TORCH_INDEX_URL}" scripts/venv.sh build
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY proto proto
COPY server server
COPY client client
COPY bench bench
COPY tests/unit/CMakeLists.txt tests/unit/
RUN cmake --preset release --log-level=WARNING && \
    cmake --build --preset release --target torchd torchctl && \
    DESTDIR=/image cmake --install build/release --prefix /opt/torchd --strip
# LibTorch's CPU part alone. What it needs of CUDA are two small libraries, and those only when the
# wheel was built for CUDA.
RUN site=build/venv/lib/python3.11/site-packages && lib=/image/opt/torchd/lib && mkdir -p "$lib" && \
    cp $site/torch/lib/libtorch_cpu.so $site/torch/lib/libc10.so $site/torch/lib/libgomp*.so* \
      "$lib" && cp -L build/venv/lib/libdnnl.so.3 "$lib" && strip "$lib/libdnnl.so.3" && \
    for library in $site/nvidia/cu13/lib/libcudart.so.13 \
        $site/nvidia/cu13/lib/libcupti.so.13; do \
      if [ -e "$library" ]; then cp -L "$library" "$lib"; fi; \
    done && \
    LD_LIBRARY_PATH="$lib" ldd /image/opt/torchd/bin/torchd | tee /dev/stderr | \
      { ! grep -q 'not found'; }

FROM ${BASE} AS cpu
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
      --no-install-recommends libgrpc++1.51 libprotobuf32 libabsl20220623 libprometheus-cpp-core1.0 \
      libmicrohttpd12 libyaml-cpp0.7 zlib1g libjpeg62-turbo libspng0 libwebp7 libicu72 && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 8001 --no-create-home --shell /usr/sbin/nologin torchd && mkdir /models
COPY --from=build /image/opt/torchd /opt/torchd
ENV PATH=/opt/torchd/bin:$PATH
USER 8001
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# Inside a container every address is the container's own; what is published is `docker run -p`'s.
ENTRYPOINT ["/opt/torchd/bin/torchd"]
CMD ["--model-repository=/models", "--grpc-address=0.0.0.0:8001", "--http-address=0.0.0.0:8000"]
