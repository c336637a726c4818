# Sets LSTMCORE_EIGEN_INCLUDE_DIR, the folder that holds "Eigen/Core" of Eigen 5.0.1 or newer.
#
# In this order: what the caller set; Eigen's own CMake package; the headers inside the PyPI package eigency. Eigen 3 is
# not enough: its AVX-512 products reach about 70 % of Eigen 5's speed. Shared by our build and by the installed package.

function(_lstmcore_eigen_from_python out)
  find_package(Python COMPONENTS Interpreter QUIET)
  if(NOT Python_Interpreter_FOUND)
    return()
  endif()
  # find_spec finds without importing: eigency's own extension needs a matching NumPy, its headers do not.
  execute_process(
    COMMAND
      "${Python_EXECUTABLE}" -c
      "import importlib.util as u; s = u.find_spec('eigency'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(package AND EXISTS "${package}/eigen/Eigen/Core")
    set(${out} "${package}/eigen" PARENT_SCOPE)
  endif()
endfunction()

function(_lstmcore_find_eigen)
  if(LSTMCORE_EIGEN_INCLUDE_DIR AND EXISTS "${LSTMCORE_EIGEN_INCLUDE_DIR}/Eigen/Core")
    return()
  endif()
  find_package(Eigen3 5.0.1 CONFIG QUIET)
  if(TARGET Eigen3::Eigen)
    get_target_property(directory Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
    list(GET directory 0 directory)
    string(REGEX REPLACE "^\\$<BUILD_INTERFACE:(.*)>$" "\\1" directory "${directory}")
  else()
    _lstmcore_eigen_from_python(directory)
  endif()
  if(NOT directory)
    message(FATAL_ERROR "lstmcore needs Eigen 5.0.1 or newer. Install it, or `pip install \"eigency==5.0.1.*\"`, which "
                        "holds its headers, or set LSTMCORE_EIGEN_INCLUDE_DIR to the folder that holds Eigen/Core.")
  endif()
  set(LSTMCORE_EIGEN_INCLUDE_DIR "${directory}" CACHE PATH "folder that holds Eigen/Core of Eigen 5.0.1 or newer" FORCE)
endfunction()

_lstmcore_find_eigen()
