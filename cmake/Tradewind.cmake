# One static library per folder, one test binary per folder, fuzz targets beside the parsers.

set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)

add_library(tw_options INTERFACE)
target_compile_options(tw_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Wthread-safety -fno-omit-frame-pointer)
target_compile_definitions(tw_options INTERFACE _GLIBCXX_ASSERTIONS TW_VERSION="${PROJECT_VERSION}")
# Coroutines' frames by operator new: aligned_alloc gives them no more alignment, and passes by the
# C library's caches of small blocks.
target_compile_definitions(tw_options INTERFACE BOOST_ASIO_DISABLE_STD_ALIGNED_ALLOC BOOST_ASIO_DISABLE_BOOST_ALIGN)
target_include_directories(tw_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(TW_WERROR)
  target_compile_options(tw_options INTERFACE -Werror)
endif()
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1")
set(CMAKE_C_FLAGS_SANITIZE "-O1 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
if(TW_SANITIZE)
  target_compile_options(tw_options INTERFACE -fsanitize=${TW_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(tw_options INTERFACE -fsanitize=${TW_SANITIZE})
endif()
if(TW_FUZZ)
  target_compile_options(tw_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(TW_COVERAGE)
  target_compile_options(tw_options INTERFACE -fprofile-instr-generate -fcoverage-mapping)
  target_link_options(tw_options INTERFACE -fprofile-instr-generate)
endif()

if(TW_PCH)
  add_library(tw_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/common_headers.cc)
  target_link_libraries(tw_pch PRIVATE tw_options Threads::Threads)
  target_precompile_headers(tw_pch PRIVATE
    <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <condition_variable> <deque> <expected> <filesystem> <fstream>
    <functional> <map> <memory> <mutex> <optional> <random> <set> <span> <sstream> <string> <thread> <unordered_map> <vector>
    <fmt/format.h> <boost/asio/awaitable.hpp> <boost/json.hpp>)
endif()

# Not for folders whose sources are compiled for several CPUs.
function(tw_use_pch target)
  if(TW_PCH AND NOT target MATCHES "engine_(kernels|probe|quant)")
    target_precompile_headers(${target} REUSE_FROM tw_pch)
  endif()
endfunction()

# tw_library(engine_format SOURCES gguf.cc gguf.h DEPS base)  ->  target tw_engine_format
function(tw_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  set(headers ${ARG_SOURCES})
  list(FILTER headers INCLUDE REGEX "\\.h$")
  list(FILTER ARG_SOURCES EXCLUDE REGEX "\\.h$")
  add_library(tw_${name} STATIC ${ARG_SOURCES})
  # A header set, so that the target all_verify_interface_header_sets compiles each header alone.
  target_sources(tw_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src FILES ${headers})
  list(TRANSFORM ARG_DEPS PREPEND tw_)
  target_link_libraries(tw_${name} PUBLIC tw_options ${ARG_DEPS} ${ARG_LIBS})
  tw_use_pch(tw_${name})
endfunction()

# tw_test(engine_format SOURCES gguf_test.cc DEPS engine_format)  ->  binary engine_format_test, one ctest entry per test
function(tw_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${name}_test ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND tw_)
  target_link_libraries(${name}_test PRIVATE tw_options ${ARG_DEPS} ${ARG_LIBS} tw_testing GTest::gtest_main)
  tw_use_pch(${name}_test)
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST PROPERTIES LABELS "unit" TIMEOUT 600)
endfunction()

# tw_fuzzer(gguf SOURCE gguf_fuzz.cc DEPS engine_format): with TW_FUZZ a libFuzzer binary `gguf_fuzz`, otherwise the same
# name built with a driver that replays the corpus fuzz/gguf as an ordinary test.
if(TW_FUZZ)
  add_custom_target(fuzzers)  # all of them, and nothing else
endif()
function(tw_fuzzer name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPS;LIBS" ${ARGN})
  list(TRANSFORM ARG_DEPS PREPEND tw_)
  if(TW_FUZZ)
    add_executable(${name}_fuzz ${ARG_SOURCE})
    target_link_libraries(${name}_fuzz PRIVATE tw_options ${ARG_DEPS} ${ARG_LIBS})
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name}_fuzz)
  else()
    add_executable(${name}_fuzz ${ARG_SOURCE} ${CMAKE_SOURCE_DIR}/fuzz/replay_main.cc)
    target_link_libraries(${name}_fuzz PRIVATE tw_options ${ARG_DEPS} ${ARG_LIBS})
    add_test(NAME fuzz_corpus.${name} COMMAND ${name}_fuzz ${CMAKE_SOURCE_DIR}/fuzz/${name})
    set_tests_properties(fuzz_corpus.${name} PROPERTIES LABELS "unit" TIMEOUT 300)
  endif()
endfunction()

# tw_bench(kernels SOURCE matmul_bench.cc DEPS engine_kernels): Google Benchmark binary; also runs once, tiny, as a test.
function(tw_bench name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPS;LIBS" ${ARGN})
  list(TRANSFORM ARG_DEPS PREPEND tw_)
  add_executable(${name}_bench ${ARG_SOURCE})
  target_link_libraries(${name}_bench PRIVATE tw_options ${ARG_DEPS} ${ARG_LIBS} benchmark::benchmark_main)
  add_test(NAME bench_smoke.${name} COMMAND ${name}_bench --benchmark_min_time=0.001)
  set_tests_properties(bench_smoke.${name} PROPERTIES LABELS "unit" TIMEOUT 300)
endfunction()
