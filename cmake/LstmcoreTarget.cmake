# lstmcore_configure_target(<target> <include-dir>): makes an INTERFACE target the header-only library.
#
# Needs LSTMCORE_EIGEN_INCLUDE_DIR (LstmcoreEigen.cmake). Used by our build, by tests/cpp and by the installed package.

macro(lstmcore_configure_target target include_dir)
  target_compile_features(${target} INTERFACE cxx_std_17)
  target_include_directories(${target} INTERFACE "${include_dir}")
  target_include_directories(${target} SYSTEM INTERFACE "${LSTMCORE_EIGEN_INCLUDE_DIR}")
  # Each a*b+c is an explicit fma or an explicit pair of operations: contraction would make results depend on the compiler.
  target_compile_options(${target} INTERFACE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-ffp-contract=off>)
  find_package(OpenMP QUIET COMPONENTS CXX)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(${target} INTERFACE OpenMP::OpenMP_CXX)
  endif()
endmacro()
