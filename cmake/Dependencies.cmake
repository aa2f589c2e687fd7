# What comes from Debian, and LibTorch from the PyPI wheel.

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(GTest REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(jpeg REQUIRED IMPORTED_TARGET libjpeg)
pkg_check_modules(spng REQUIRED IMPORTED_TARGET spng)
pkg_check_modules(webp REQUIRED IMPORTED_TARGET libwebp)
pkg_check_modules(icu REQUIRED IMPORTED_TARGET icu-uc)
find_library(TORCHD_MICROHTTPD microhttpd REQUIRED)

# The wheel's own TorchConfig.cmake demands a CUDA toolkit; the CPU libraries need none.
if(TORCHD_WITH_TORCH)
  set(torch_root "${TORCHD_PYTHON_SITE}/torch")
  if(NOT EXISTS "${torch_root}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "no LibTorch in ${torch_root}; `make deps` installs it")
  endif()
  set(torch_rpath "${torch_root}/lib" "${TORCHD_PYTHON_SITE}/nvidia/cu13/lib")
  add_library(torchd_libtorch INTERFACE)
  # Only server/execution and the benchmarks link this, PRIVATE: the wheel ships headers of another
  # protobuf that must not meet Debian's.
  target_include_directories(torchd_libtorch SYSTEM INTERFACE
    "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include")
  target_link_libraries(torchd_libtorch INTERFACE
    "${torch_root}/lib/libtorch_cpu.so" "${torch_root}/lib/libc10.so"
    "${torch_root}/lib/libgomp.so.1")
  target_link_options(torchd_libtorch INTERFACE
    "-Wl,-rpath-link,${TORCHD_PYTHON_SITE}/nvidia/cu13/lib" "-Wl,-rpath-link,${torch_root}/lib")
  list(APPEND CMAKE_BUILD_RPATH ${torch_rpath})
  list(APPEND CMAKE_INSTALL_RPATH "$ORIGIN/../lib")

  # oneDNN of its own wheel: LibTorch keeps its own to itself. With LibTorch's libgomp, which has the
  # same soname as what both were linked with.
  cmake_path(SET onednn_root NORMALIZE "${TORCHD_PYTHON_SITE}/../../..")
  add_library(torchd_onednn INTERFACE)
  target_include_directories(torchd_onednn SYSTEM INTERFACE "${onednn_root}/include")
  target_link_libraries(torchd_onednn INTERFACE
    "${onednn_root}/lib/libdnnl.so.3" "${torch_root}/lib/libgomp.so.1")
  target_link_options(torchd_onednn INTERFACE "-Wl,-rpath-link,${torch_root}/lib")
  list(APPEND CMAKE_BUILD_RPATH "${onednn_root}/lib")
endif()
