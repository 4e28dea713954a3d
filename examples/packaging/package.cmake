# Installing, and the Debian package (cpack --config build/release/CPackConfig.cmake). Paths are Debian's: for a prefix of /usr.

set(here ${CMAKE_CURRENT_LIST_DIR})
set(GW_COMPONENT gateway)

install(TARGETS gateway RUNTIME DESTINATION bin COMPONENT ${GW_COMPONENT})
# For tests by plain busted: LUA_CPATH="/usr/lib/TRIPLET/gateway/lib?.so;;"
install(TARGETS gateway_library LIBRARY DESTINATION lib/${CMAKE_LIBRARY_ARCHITECTURE}/gateway COMPONENT ${GW_COMPONENT} NAMELINK_SKIP)
install(FILES ${here}/gateway.service DESTINATION lib/systemd/system COMPONENT ${GW_COMPONENT})
install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/README.md DESTINATION share/doc/gateway COMPONENT ${GW_COMPONENT})
install(FILES ${here}/gateway.logrotate DESTINATION /etc/logrotate.d RENAME gateway COMPONENT ${GW_COMPONENT})

# What an administrator may have changed is left alone; in a package, dpkg sees to that.
foreach(pair gateway.lua:/etc/gateway/gateway.lua gateway.default:/etc/default/gateway)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 from)
    list(GET pair 1 to)
    get_filename_component(folder ${to} DIRECTORY)
    get_filename_component(name ${to} NAME)
    install(CODE "
        if(NOT EXISTS \"\$ENV{DESTDIR}${to}\")
            file(INSTALL \"${here}/${from}\" DESTINATION \"${folder}\" RENAME \"${name}\"
                 PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
        endif()" COMPONENT ${GW_COMPONENT})
endforeach()

# The program prints its completions itself; manual pages go compressed.
install(CODE "
    set(to \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
    function(make path)
        get_filename_component(folder \"\${path}\" DIRECTORY)
        file(MAKE_DIRECTORY \"\${folder}\")
        execute_process(COMMAND \${ARGN} OUTPUT_FILE \"\${path}\" RESULT_VARIABLE failed)
        if(failed)
            message(FATAL_ERROR \"cannot make \${path}: \${failed}\")
        endif()
        file(CHMOD \"\${path}\" FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    endfunction()
    set(program \"$<TARGET_FILE:gateway>\")
    make(\"\${to}/share/bash-completion/completions/gateway\" \"\${program}\" completion bash)
    make(\"\${to}/share/zsh/vendor-completions/_gateway\" \"\${program}\" completion zsh)
    make(\"\${to}/share/fish/vendor_completions.d/gateway.fish\" \"\${program}\" completion fish)
    make(\"\${to}/share/man/man1/gateway.1.gz\" gzip -9nc \"${here}/gateway.1\")
    make(\"\${to}/share/man/man5/gateway.lua.5.gz\" gzip -9nc \"${here}/gateway.lua.5\")" COMPONENT ${GW_COMPONENT})

# ---- the package ----

file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/package/conffiles "/etc/default/gateway\n/etc/gateway/gateway.lua\n/etc/logrotate.d/gateway\n")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME gateway)
set(CPACK_PACKAGE_CONTACT "The gateway's maintainers <root@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL ${GW_COMPONENT})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_NAME gateway)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION httpd)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "passwd")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "lua-busted, logrotate")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${here}/postinst ${here}/prerm ${here}/postrm ${CMAKE_CURRENT_BINARY_DIR}/package/conffiles)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "API gateway scripted in Lua
Routes, balances and limits HTTP/1.1 traffic as a Lua script says, with plugins,
health checks, circuit breakers, metrics, traces, reloads and upgrades that lose
no request.")
set(CPACK_DEBIAN_GATEWAY_DESCRIPTION "${CPACK_DEBIAN_PACKAGE_DESCRIPTION}")
include(CPack)
