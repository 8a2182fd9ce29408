# How our own code is compiled. Generated code takes none of the warnings.
add_library(muster_flags INTERFACE)
target_include_directories(muster_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(muster_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports std::string's own assignment of a short literal at -O2 (its bug 105651).
  target_compile_options(muster_flags INTERFACE -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(muster_flags INTERFACE -Wthread-safety -Werror=thread-safety)
endif()

if(MUSTER_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(MUSTER_SANITIZE STREQUAL "thread")
  # The distribution's Protobuf and Abseil are not instrumented. Their headers would lay out some
  # classes in another way if they knew.
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -U__SANITIZE_THREAD__)
  add_link_options(-fsanitize=thread)
elseif(MUSTER_SANITIZE)
  message(FATAL_ERROR "MUSTER_SANITIZE is '${MUSTER_SANITIZE}'; allowed: address, thread")
endif()
if(MUSTER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# muster_add_library(NAME core SOURCES a.cc… LIBS …): the target muster_core, known as muster::core.
function(muster_add_library)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;LIBS" ${ARGN})
  add_library(muster_${ARG_NAME} STATIC ${ARG_SOURCES})
  add_library(muster::${ARG_NAME} ALIAS muster_${ARG_NAME})
  target_link_libraries(muster_${ARG_NAME} PUBLIC ${ARG_LIBS} PRIVATE $<BUILD_INTERFACE:muster_flags>)
  target_include_directories(muster_${ARG_NAME} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  # Of whoever links it as well.
  target_compile_features(muster_${ARG_NAME} PUBLIC cxx_std_20)
endfunction()
