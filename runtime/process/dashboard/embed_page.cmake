# Run by the build (cmake -P): writes OUT, a C file with PAGE, in which STYLE and SCRIPTS (a list with commas) have taken the places of the
# words {{style}} and {{script}}.

function(offset_of hex word result)
    string(HEX "${word}" word)
    string(FIND "${hex}" "${word}" at)
    if(at LESS 0)
        message(FATAL_ERROR "${PAGE} has no place for it: ${word}")
    endif()
    math(EXPR at "${at} / 2")
    set(${result} ${at} PARENT_SCOPE)
endfunction()

function(put hex word what result)
    string(HEX "${word}" word)
    string(REPLACE "${word}" "${what}" hex "${hex}")
    set(${result} "${hex}" PARENT_SCOPE)
endfunction()

function(length_of hex result)
    string(LENGTH "${hex}" length)
    math(EXPR length "${length} / 2")
    set(${result} ${length} PARENT_SCOPE)
endfunction()

file(READ ${PAGE} page HEX)
file(READ ${STYLE} style HEX)
set(script "")
string(REPLACE "," ";" SCRIPTS "${SCRIPTS}")
foreach(file ${SCRIPTS})
    file(READ ${file} hex HEX)
    string(APPEND script "${hex}")
endforeach()

offset_of("${page}" "{{style}}" style_at)
put("${page}" "{{style}}" "${style}" page)
offset_of("${page}" "{{script}}" script_at)
put("${page}" "{{script}}" "${script}" page)
length_of("${style}" style_len)
length_of("${script}" script_len)
length_of("${page}" page_len)

string(REGEX REPLACE "(................................)" "\\1\n    " page "${page}") # 16 bytes a line
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," page "${page}")
# Bytes from 0x80 on do not fit a signed char as they stand.
string(REGEX REPLACE "0x([89a-f][0-9a-f])," "(char)0x\\1," page "${page}")
file(WRITE ${OUT} "/* Made by runtime/process/dashboard/embed_page.cmake. */
#include \"process/dashboard.h\"

const char gw_dashboard_page[] = {
    ${page}0};
const size_t gw_dashboard_page_len = ${page_len};
const size_t gw_dashboard_style[2] = {${style_at}, ${style_len}}, gw_dashboard_script[2] = {${script_at}, ${script_len}};
")
