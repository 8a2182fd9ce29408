# Where things go with `cmake --install`: programs, and the API definition for generated stubs.
# The exported package, find_package(muster), carries muster::client, muster::mocks, muster::proto
# and muster::base.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/ DESTINATION ${CMAKE_INSTALL_DATADIR}/muster/proto
        FILES_MATCHING PATTERN "*.proto")

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/muster-config.cmake.in
  ${PROJECT_BINARY_DIR}/muster-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/muster)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/muster-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/muster-config.cmake ${PROJECT_BINARY_DIR}/muster-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/muster)

# For builds without CMake.
file(RELATIVE_PATH MUSTER_PREFIX_FROM_PC
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/muster.pc.in ${PROJECT_BINARY_DIR}/muster.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/muster.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# muster_install_library(TARGET t EXPORT_NAME n HEADERS folder INTO subfolder): exports a target of
# ours with the headers of a folder, which are found below INTO of the include directory.
function(muster_install_library)
  cmake_parse_arguments(ARG "" "TARGET;EXPORT_NAME;HEADERS;INTO" "" ${ARGN})
  set_target_properties(${ARG_TARGET} PROPERTIES EXPORT_NAME ${ARG_EXPORT_NAME})
  install(TARGETS ${ARG_TARGET} EXPORT muster-targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(DIRECTORY ${ARG_HEADERS}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/${ARG_INTO}
          FILES_MATCHING PATTERN "*.h" PATTERN "CMakeFiles" EXCLUDE)
endfunction()

# After all rooms: what is there is installed.
function(muster_install_all)
  muster_install_library(TARGET muster_proto EXPORT_NAME proto
    HEADERS ${PROJECT_BINARY_DIR}/proto INTO .)
  muster_install_library(TARGET muster_base EXPORT_NAME base
    HEADERS ${PROJECT_SOURCE_DIR}/base INTO base)
  muster_install_library(TARGET muster_client EXPORT_NAME client
    HEADERS ${PROJECT_SOURCE_DIR}/client/include INTO .)
  # Its headers are among the client's.
  set_target_properties(muster_mocks PROPERTIES EXPORT_NAME mocks)
  install(TARGETS muster_mocks EXPORT muster-targets)
  install(EXPORT muster-targets NAMESPACE muster::
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/muster)
  foreach(PROGRAM musterd muster)
    if(TARGET ${PROGRAM})
      install(TARGETS ${PROGRAM} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
  endforeach()
endfunction()
