# Run by the build (cmake -P): writes OUT, a C file with the bytes of the files that LIST names and of CDEF.

function(bytes_of path result)
    file(READ ${path} hex HEX)
    string(REGEX REPLACE "(................................)" "\\1\n    " hex "${hex}") # 16 bytes a line
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
    set(${result} "${hex}" PARENT_SCOPE)
endfunction()

file(READ ${LIST} files)
string(STRIP "${files}" files)

set(arrays "")
set(entries "")
set(index 0)
foreach(file ${files})
    string(REGEX REPLACE "^lua/" "" module ${file})
    string(REGEX REPLACE "(/init)?\\.lua$" "" module ${module})
    string(REPLACE "/" "." module ${module})
    bytes_of(${ROOT}/${file} bytes)
    # A NUL behind, which does not count: so that the bytes are a C string too, and an empty file is an array all the same.
    string(APPEND arrays "static const char file_${index}[] = {\n    ${bytes}0};\n\n")
    string(APPEND entries "    {\"${module}\", \"@${file}\", file_${index}, sizeof file_${index} - 1},\n")
    math(EXPR index "${index} + 1")
endforeach()

bytes_of(${CDEF} cdef)
set(text "/* Made by runtime/script/embed_files.cmake. */
#include \"script/embedded.h\"

${arrays}const struct gw_embedded gw_embedded_files[] = {
${entries}    {0, 0, 0, 0},
};
const size_t gw_embedded_count = ${index};

const char gw_api_cdef[] = {
    ${cdef}0};
const size_t gw_api_cdef_len = sizeof gw_api_cdef - 1;
")
# Bytes from 0x80 on do not fit a signed char as they stand.
string(REGEX REPLACE "0x([89a-f][0-9a-f])," "(char)0x\\1," text "${text}")
file(WRITE ${OUT} "${text}")
