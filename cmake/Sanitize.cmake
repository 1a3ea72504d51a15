# Applies SPARSE_SANITIZE to every target that comes after. LLVM and MLIR stay as they are installed.
if(NOT SPARSE_SANITIZE)
  return()
endif()
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "SPARSE_SANITIZE needs clang; this is ${CMAKE_CXX_COMPILER_ID}.")
endif()
# -fsanitize=function reads in front of the function that it calls; the kernels of an artifact have no mark there.
add_compile_options(-fsanitize=${SPARSE_SANITIZE} -fno-sanitize=function -fno-sanitize-recover=all -fno-omit-frame-pointer)
# A shared sanitizer runtime, so that Python can preload the one that libsparse_runtime.so uses.
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-runtime-dir OUTPUT_VARIABLE sanitizer_directory
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
add_link_options(-fsanitize=${SPARSE_SANITIZE} -shared-libsan -Wl,-rpath,${sanitizer_directory})
