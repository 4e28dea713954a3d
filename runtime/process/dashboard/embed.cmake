# Builds the dashboard's page into the program: index.html with style.css and the scripts in it. See runtime/process/dashboard.h.

set(dashboard ${CMAKE_CURRENT_SOURCE_DIR}/runtime/process/dashboard)
# In the order in which they stand in the page.
set(dashboard_scripts format.js history.js charts.js panels.js tables.js stream.js main.js)
list(TRANSFORM dashboard_scripts PREPEND ${dashboard}/)
string(REPLACE ";" "," dashboard_script_list "${dashboard_scripts}")

add_custom_command(
    OUTPUT ${generated}/dashboard.c
    COMMAND ${CMAKE_COMMAND} -DPAGE=${dashboard}/index.html -DSTYLE=${dashboard}/style.css -DSCRIPTS=${dashboard_script_list}
            -DOUT=${generated}/dashboard.c -P ${dashboard}/embed_page.cmake
    DEPENDS ${dashboard}/index.html ${dashboard}/style.css ${dashboard_scripts} ${dashboard}/embed_page.cmake
    COMMENT "Embedding the dashboard"
    VERBATIM)

add_library(gw_dashboard OBJECT ${generated}/dashboard.c)
target_link_libraries(gw_dashboard PUBLIC gw_options)
