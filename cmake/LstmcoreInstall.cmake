# Installs the headers and the CMake package inside the Python package.

include(CMakePackageConfigHelpers)

set(LSTMCORE_INCLUDE_DIR lstmcore/include)
set(LSTMCORE_CMAKE_DIR lstmcore/lib/cmake/lstmcore)

configure_package_config_file(cmake/lstmcoreConfig.cmake.in "${PROJECT_BINARY_DIR}/lstmcoreConfig.cmake"
                              INSTALL_DESTINATION ${LSTMCORE_CMAKE_DIR} PATH_VARS LSTMCORE_INCLUDE_DIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/lstmcoreConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)

install(DIRECTORY include/lstmcore DESTINATION ${LSTMCORE_INCLUDE_DIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES "${PROJECT_BINARY_DIR}/lstmcoreConfig.cmake" "${PROJECT_BINARY_DIR}/lstmcoreConfigVersion.cmake"
              cmake/LstmcoreEigen.cmake cmake/LstmcoreTarget.cmake DESTINATION ${LSTMCORE_CMAKE_DIR})
