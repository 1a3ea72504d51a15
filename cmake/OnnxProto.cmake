# The ONNX schema is not kept in this repository: it is taken from an installed `onnx` package and compiled at build time.
#
# Sets SPARSE_ONNX_PROTO (cache) to the path of onnx-ml.proto. Looks at -DSPARSE_ONNX_PROTO first, then asks the Python
# of -DPython3_EXECUTABLE, of .venv in the source root and of the PATH, then at Debian's python3-onnx.
function(sparse_find_onnx_proto)
  if(SPARSE_ONNX_PROTO)
    if(NOT EXISTS "${SPARSE_ONNX_PROTO}")
      message(FATAL_ERROR "SPARSE_ONNX_PROTO names ${SPARSE_ONNX_PROTO}, which does not exist.")
    endif()
    return()
  endif()
  # find_spec locates the package without importing it; importing needs numpy and a matching protobuf.
  set(script "import importlib.util as u, os; s = u.find_spec('onnx')
print(os.path.join(list(s.submodule_search_locations)[0], 'onnx-ml.proto') if s else '')")
  foreach(python "${Python3_EXECUTABLE}" "${CMAKE_SOURCE_DIR}/.venv/bin/python" python3)
    if(NOT python)
      continue()
    endif()
    execute_process(COMMAND "${python}" -c "${script}" OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE
      ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0 AND found AND EXISTS "${found}")
      break()
    endif()
    unset(found)
  endforeach()
  set(debian /usr/lib/python3/dist-packages/onnx/onnx-ml.proto)
  if(NOT found AND EXISTS ${debian})
    set(found ${debian})
  endif()
  if(NOT found)
    message(FATAL_ERROR "onnx-ml.proto not found. Run scripts/setup, or install the Python package `onnx` and pass "
      "-DPython3_EXECUTABLE=<its python>, or apt install python3-onnx, or pass -DSPARSE_ONNX_PROTO=<file>.")
  endif()
  message(STATUS "ONNX schema: ${found}")
  set(SPARSE_ONNX_PROTO "${found}" CACHE FILEPATH "The schema of ONNX files" FORCE)
endfunction()
