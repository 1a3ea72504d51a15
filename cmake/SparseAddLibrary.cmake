# sparse_add_library(Name a.cpp ... DEPENDS XIncGen LIBS OtherProjectLib MLIR_LIBS MLIRIR ...)
#
# One project library. Upstream libraries go through mlir_target_link_libraries only: naming an MLIR archive in LINK_LIBS
# would put a second, static copy of MLIR beside libMLIR.so.
function(sparse_add_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBS;MLIR_LIBS" ${ARGN})
  add_mlir_library(${name} ${ARG_UNPARSED_ARGUMENTS}
    DEPENDS ${ARG_DEPENDS} LINK_LIBS PUBLIC ${ARG_LIBS} DISABLE_INSTALL)
  mlir_target_link_libraries(${name} PUBLIC ${ARG_MLIR_LIBS})
  # One precompiled header of the heavy upstream headers serves every library.
  if(SPARSE_PCH)
    if(name STREQUAL "SparsePch")
      target_precompile_headers(obj.${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/Pch.h)
    else()
      target_precompile_headers(obj.${name} REUSE_FROM obj.SparsePch)
    endif()
  endif()
endfunction()

# sparse_dialect_tablegen(Prefix dialect-name): dialect and op declarations of <Prefix>Ops.td in the current folder.
macro(sparse_dialect_tablegen prefix dialect)
  set(LLVM_TARGET_DEFINITIONS ${prefix}Ops.td)
  mlir_tablegen(${prefix}Dialect.h.inc -gen-dialect-decls -dialect=${dialect})
  mlir_tablegen(${prefix}Dialect.cpp.inc -gen-dialect-defs -dialect=${dialect})
  mlir_tablegen(${prefix}Ops.h.inc -gen-op-decls)
  mlir_tablegen(${prefix}Ops.cpp.inc -gen-op-defs)
endmacro()
