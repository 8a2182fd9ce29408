# Where things go with `cmake --install`: programs, and the API definition for generated stubs.
# The exported package, find_package(muster), carries muster::proto and muster::base.
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

# muster_install_library(TARGET EXPORT_NAME): exports a target of ours.
function(muster_install_library TARGET EXPORT_NAME)
  set_target_properties(${TARGET} PROPERTIES EXPORT_NAME ${EXPORT_NAME})
  install(TARGETS ${TARGET} EXPORT muster-targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endfunction()
