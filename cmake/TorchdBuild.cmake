# Flags every target shares, and torchd_library(), torchd_program() and torchd_test().

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# The same objects serve the static and the shared (layering) build, so ccache pays for both.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ${TORCHD_VERIFY_HEADERS})
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")

find_program(TORCHD_CCACHE ccache)
if(TORCHD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths relative to the checkout, so that another clone finds what this one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND};-E;env;CCACHE_BASEDIR=${CMAKE_SOURCE_DIR};CCACHE_NOHASHDIR=1;CCACHE_SLOPPINESS=time_macros;${TORCHD_CCACHE}")
endif()
find_program(TORCHD_MOLD mold)
if(TORCHD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla -Walloca
  -fstack-protector-strong -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms of g++ 12 on std::string's operator+ (its bug 105651).
  add_compile_options(-Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wthread-safety)
endif()
add_link_options(-Wl,-z,relro -Wl,-z,now)
if(TORCHD_SANITIZE)
  add_compile_options(-fsanitize=${TORCHD_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TORCHD_SANITIZE})
  if(TORCHD_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
else()
  add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
endif()
if(BUILD_SHARED_LIBS)
  # An arrow that points up leaves an undefined symbol, and the link fails.
  add_link_options(-Wl,-z,defs)
endif()

# Every library and none of the programs: what `thread-safety` and `layering` build.
add_custom_target(torchd_libraries)

# torchd_library(<folder> [HEADERS ...] [SOURCES ...] [DEPENDS <folder> ...] [LINKS <public> ...]
#                [LINKS_PRIVATE <private> ...])
# One target `torchd_<folder>` per folder. DEPENDS are the arrows.
function(torchd_library name)
  cmake_parse_arguments(ARG "" "" "HEADERS;SOURCES;DEPENDS;LINKS;LINKS_PRIVATE" ${ARGN})
  set(target torchd_${name})
  set(depends ${ARG_DEPENDS})
  list(TRANSFORM depends PREPEND torchd_)
  if(ARG_SOURCES)
    add_library(${target} ${ARG_SOURCES})
    set(scope PUBLIC)
    # No <target>_EXPORTS macro: it would make the shared build's objects differ.
    set_target_properties(${target} PROPERTIES DEFINE_SYMBOL "")
    target_link_libraries(${target} PRIVATE ${ARG_LINKS_PRIVATE})
    add_dependencies(torchd_libraries ${target})
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS "${CMAKE_SOURCE_DIR}"
                 FILES ${ARG_HEADERS})
  target_include_directories(${target} ${scope} "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} ${scope} ${depends} ${ARG_LINKS})
endfunction()

# torchd_program(<name> SOURCES ... DEPENDS <folder> ... LINKS ...)
function(torchd_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LINKS" ${ARGN})
  set(depends ${ARG_DEPENDS})
  list(TRANSFORM depends PREPEND torchd_)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${depends} ${ARG_LINKS})
  if(TORCHD_SANITIZE STREQUAL "thread")
    # The sanitizer cannot see what Debian's Abseil orders; this file tells it.
    target_sources(${name} PRIVATE "${CMAKE_SOURCE_DIR}/cmake/tsan_abseil.cc")
    target_link_libraries(${name} PRIVATE absl::synchronization absl::time ${CMAKE_DL_LIBS})
  endif()
endfunction()

# torchd_test(<name> SOURCES ... DEPENDS <folder> ... [LABEL unit|torch]): a GoogleTest program.
function(torchd_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;DEPENDS;LINKS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  torchd_program(${name} SOURCES ${ARG_SOURCES} DEPENDS ${ARG_DEPENDS}
                 LINKS ${ARG_LINKS} GTest::gmock GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TORCHD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 120)
endfunction()
