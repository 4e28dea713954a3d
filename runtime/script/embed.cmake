# Builds into the program what it needs of Lua: every file of lua/gateway/ as a module, the shipped plugins, and the text of runtime/script/api.h for
# ffi.cdef. See runtime/script/embedded.h for what comes out.

set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${generated})

file(GLOB_RECURSE lua_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} lua/gateway/*.lua plugins/*.lua)
list(FILTER lua_files EXCLUDE REGEX "_spec\\.lua$")
list(SORT lua_files)
set(lua_paths ${lua_files})
list(TRANSFORM lua_paths PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
# The list itself: a file that goes away must be built out again.
file(CONFIGURE OUTPUT ${generated}/lua_files.txt CONTENT "${lua_files}\n" @ONLY)

set(cdef ${generated}/api.cdef)
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/runtime/script/api.h)
    add_custom_command(
        OUTPUT ${cdef}
        COMMAND ${CMAKE_C_COMPILER} -E -P -nostdinc -DGW_CDEF -I${CMAKE_CURRENT_SOURCE_DIR}/runtime -MD -MF ${cdef}.d -MT ${cdef}
                -o ${cdef} ${CMAKE_CURRENT_SOURCE_DIR}/runtime/script/api.h
        DEPENDS runtime/script/api.h
        DEPFILE ${cdef}.d
        COMMENT "Preprocessing api.h for ffi.cdef"
        VERBATIM)
else()
    file(CONFIGURE OUTPUT ${cdef} CONTENT "" @ONLY)
endif()

add_custom_command(
    OUTPUT ${generated}/embedded.c
    COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_CURRENT_SOURCE_DIR} -DLIST=${generated}/lua_files.txt -DCDEF=${cdef}
            -DOUT=${generated}/embedded.c -P ${CMAKE_CURRENT_SOURCE_DIR}/runtime/script/embed_files.cmake
    DEPENDS ${lua_paths} ${cdef} ${generated}/lua_files.txt runtime/script/embed_files.cmake
    COMMENT "Embedding lua/gateway and plugins"
    VERBATIM)

add_library(gw_embedded OBJECT ${generated}/embedded.c)
target_link_libraries(gw_embedded PUBLIC gw_options)
