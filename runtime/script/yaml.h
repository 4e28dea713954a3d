/* YAML text into Lua values: YAML as libyaml reads it, scalars typed by the YAML 1.2 core schema (section 10.3 of the specification), held to
 * what a configuration needs. */
#ifndef GW_SCRIPT_YAML_H
#define GW_SCRIPT_YAML_H

#include <lua.h>

#include "base/base.h"

#define GW_YAML_BYTES (16 << 20) /* longest text */
#define GW_YAML_DEPTH 32         /* deepest nesting of maps and lists */

/* A function for Lua: load(text, name) -> value, lines; or nil, message ("routes.yaml:3:7: found ..., expected ...").
 *
 * Maps become tables, their keys always strings (as written: `1: x` has the key "1"); lists become arrays; null in a map leaves the
 * key out, and is refused in a list; quoted scalars are always strings; true and false are the only booleans ("yes" is a string).
 * `lines` tells where things stand: lines[table][0] is the line of the map or list, lines[table][key] that of a key, lines[table][i]
 * that of an item. An empty text gives nil, nil.
 *
 * Refused, with line and column: bad syntax, a key given twice, anchors, aliases and merge keys (so a small text cannot expand), tags outside
 * the core schema, keys that are no scalars, whole numbers that a Lua number does not hold exactly, several documents, what is deeper
 * or longer than above. Raises only for misuse and when memory is out; owns nothing outside the Lua state while it calls into it. */
GW_API int gw_yaml_load(lua_State *L);

#endif
