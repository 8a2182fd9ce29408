find_package(GTest REQUIRED)
include(GoogleTest)

# All unit-test programs; the sanitizer runs build just these.
add_custom_target(muster_unit_tests)

# muster_add_test(NAME x_test SOURCES … LIBS … [LABELS unit] [TIMEOUT seconds]
#                 [SKIP_RETURN_CODE 77])
# One program; each of its cases is a test of its own for ctest. Label unit_grpc: a unit test whose
# calls go through gRPC, which ThreadSanitizer can't follow everywhere (tests/tsan_grpc.supp).
function(muster_add_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT;SKIP_RETURN_CODE" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  foreach(SOURCE ${ARG_SOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${SOURCE})
      message(WARNING "${ARG_NAME}: ${SOURCE} is missing")
      return()
    endif()
  endforeach()
  set(SKIP)
  if(ARG_SKIP_RETURN_CODE)
    set(SKIP SKIP_RETURN_CODE ${ARG_SKIP_RETURN_CODE})
  endif()
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_LIBS} muster_flags GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${ARG_NAME} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} ${SKIP})
  if(ARG_LABELS MATCHES "^unit")
    add_dependencies(muster_unit_tests ${ARG_NAME})
  endif()
endfunction()
