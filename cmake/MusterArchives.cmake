# Programs that contain their libraries: docs/adr/0011-programs-contain-their-libraries.md.
#
# The distribution's CMake packages know the shared libraries only. So the libraries of our own link
# those, as the tests do, and the link of a program is run by link_archives, which takes the archive
# beside each. All or none: half of Abseil in the program and half beside it would be two Abseils.
option(MUSTER_ARCHIVES "Link musterd and muster to archives, where there is one of each library" ON)

set(MUSTER_ARCHIVES_OF
  absl_base absl_strings absl_synchronization address_sorting bz2 cares gpr grpc grpc++
  grpc++_reflection lz4 protobuf re2 rocksdb snappy upb xxhash yaml-cpp z zstd)
set(MUSTER_LINKS_ARCHIVES OFF)
if(MUSTER_ARCHIVES AND NOT MUSTER_SANITIZE AND NOT MUSTER_FUZZ AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(MUSTER_LINKS_ARCHIVES ON)
  foreach(LIBRARY ${MUSTER_ARCHIVES_OF})
    find_library(MUSTER_ARCHIVE_${LIBRARY} lib${LIBRARY}.a)
    mark_as_advanced(MUSTER_ARCHIVE_${LIBRARY})
    if(NOT MUSTER_ARCHIVE_${LIBRARY})
      message(STATUS "musterd and muster are linked to shared libraries: there is no lib${LIBRARY}.a")
      set(MUSTER_LINKS_ARCHIVES OFF)
    endif()
  endforeach()
endif()

# muster_link_archives(musterd)
function(muster_link_archives PROGRAM)
  if(NOT MUSTER_LINKS_ARCHIVES)
    return()
  endif()
  # What RocksDB compresses with; its shared library names these itself.
  set(LAUNCH "\"${PROJECT_SOURCE_DIR}/cmake/link_archives\"")
  foreach(LIBRARY snappy lz4 zstd bz2 z)
    string(APPEND LAUNCH " \"${MUSTER_ARCHIVE_${LIBRARY}}\"")
  endforeach()
  set_target_properties(${PROGRAM} PROPERTIES
    RULE_LAUNCH_LINK "${LAUNCH} --"
    LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/link_archives")
endfunction()
