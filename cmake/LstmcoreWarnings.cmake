# The target lstmcore_warnings: the warnings of our own sources, errors with LSTMCORE_WERROR.

option(LSTMCORE_WERROR "treat warnings in our own sources as errors" OFF)

add_library(lstmcore_warnings INTERFACE)
target_compile_options(lstmcore_warnings INTERFACE -Wall -Wextra $<$<BOOL:${LSTMCORE_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 warns of the deliberately undefined operands inside its own AVX-512 intrinsics (its bug 105593), and that the
  # alignment of a vector type is no part of a template's name.
  target_compile_options(lstmcore_warnings INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized -Wno-ignored-attributes)
endif()
