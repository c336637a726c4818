# Instruction sets: which ones this architecture has, and the compiler flags of each.
#
# lstmcore_known_isas(<out>)          every name for the target architecture
# lstmcore_isa_flags(<out> <name>)    the compiler flags of one
# LSTMCORE_BASELINE_FLAGS             flags of code that must run on every CPU of the architecture

include(CheckCXXCompilerFlag)

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" _lstmcore_processor)
if(_lstmcore_processor MATCHES "^(x86_64|amd64|x64)$")
  set(LSTMCORE_ARCHITECTURE x86_64)
  set(LSTMCORE_BASELINE_FLAGS -march=x86-64)
elseif(_lstmcore_processor MATCHES "^(aarch64|arm64)$")
  set(LSTMCORE_ARCHITECTURE aarch64)
  set(LSTMCORE_BASELINE_FLAGS)
else()
  message(FATAL_ERROR "lstmcore has no kernels for the processor \"${CMAKE_SYSTEM_PROCESSOR}\" "
                      "(there are some for x86-64 and for 64-bit Arm)")
endif()

function(lstmcore_known_isas out)
  if(LSTMCORE_ARCHITECTURE STREQUAL "x86_64")
    set(${out} x86_64_v2 x86_64_v3 x86_64_v4 PARENT_SCOPE)
  else()
    set(${out} aarch64 PARENT_SCOPE)
  endif()
endfunction()

function(lstmcore_isa_flags out isa)
  if(isa STREQUAL "aarch64")
    set(${out} "" PARENT_SCOPE)
    return()
  endif()
  # GCC 11 and Clang 12 know the levels of the x86-64 psABI by name; for older compilers they are spelt out.
  check_cxx_compiler_flag(-march=x86-64-v4 LSTMCORE_COMPILER_KNOWS_LEVELS)
  if(LSTMCORE_COMPILER_KNOWS_LEVELS)
    string(REPLACE "x86_64_" "-march=x86-64-" flags "${isa}")
  else()
    set(flags -mcx16 -msahf -mpopcnt -msse3 -mssse3 -msse4.1 -msse4.2)
    if(NOT isa STREQUAL "x86_64_v2")
      list(APPEND flags -mavx -mavx2 -mbmi -mbmi2 -mf16c -mfma -mlzcnt -mmovbe -mxsave)
    endif()
    if(isa STREQUAL "x86_64_v4")
      list(APPEND flags -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl)
    endif()
  endif()
  if(isa STREQUAL "x86_64_v4")
    # Compilers default to 256 bits for code they vectorise themselves.
    list(APPEND flags -mprefer-vector-width=512)
  endif()
  set(${out} ${flags} PARENT_SCOPE)
endfunction()
