--- The C of the runtime for specs: declared from its own headers, called in the shared library of the dev build.
--
--     local cdef = require "spec.support.cdef"
--     local C = cdef.load("http/url.h")
--     local out = ffi.new("gw_slice[1]")
--     assert.equal(C.GW_OK, C.gw_path_normalise(cdef.slice "/a/../b", false, room, out, reason))
--     assert.equal("/b", cdef.text(out[0]))
--
-- The compiler's preprocessor reads the header with all it includes; what comes from runtime/ is declared, once in a process. What
-- LuaJIT cannot declare becomes an opaque struct or is left out, and stands with the reason in cdef.skipped. Functions that are
-- `static inline` have no symbol and are not here. The library is GATEWAY_BUILD/libgateway.so (GATEWAY_BUILD: build/dev).

local ffi = require "ffi"

local cdef = { skipped = {} }

-- busted forgets modules between files; what was declared stays. So this is kept where busted does not look.
local registry = debug.getregistry()
local state = registry["gateway.spec.cdef"]
if not state then
  state = { loaded = {}, anchors = setmetatable({}, { __mode = "k" }) }
  registry["gateway.spec.cdef"] = state
  -- System types that occur in headers of the runtime, as Linux has them.
  ffi.cdef [[
  void *gwt_malloc(size_t bytes) asm("malloc");
  void gwt_free(void *ptr) asm("free");
  typedef unsigned int socklen_t;
  struct sockaddr { unsigned short sa_family; char sa_data[14]; };
  struct sockaddr_in { unsigned short sin_family, sin_port; unsigned char sin_addr[4], sin_zero[8]; };
  struct sockaddr_in6 { unsigned short sin6_family, sin6_port; uint32_t sin6_flowinfo; unsigned char sin6_addr[16];
                        uint32_t sin6_scope_id; };
  struct sockaddr_un { unsigned short sun_family; char sun_path[108]; };
  struct iovec { void *iov_base; size_t iov_len; };
  typedef unsigned long pthread_t;
  typedef struct _IO_FILE FILE;
  ]]
end

local build = os.getenv("GATEWAY_BUILD") or "build/dev"

--- Path of the shared library.
cdef.library = build .. "/libgateway.so"

-- Where the next of the characters in `set` stands at or behind `from`, outside of string and character literals.
local function find_outside(text, set, from)
  local at = from
  while true do
    local i = text:find("[\"'" .. set .. "]", at)
    if not i then return nil end
    local c = text:sub(i, i)
    if c ~= '"' and c ~= "'" then return i, c end
    local j = i + 1
    while text:sub(j, j) ~= c do j = j + (text:sub(j, j) == "\\" and 2 or 1) end
    at = j + 1
  end
end

-- Position behind the brace that closes the one at `open`.
local function behind_braces(text, open)
  local depth, at = 0, open
  while true do
    local i, c = find_outside(text, "{}", at)
    if not i then error("unbalanced braces in a header", 0) end
    depth = depth + (c == "{" and 1 or -1)
    if depth == 0 then return i + 1 end
    at = i + 1
  end
end

-- The declarations in a preprocessed text, without function bodies.
local function declarations(text)
  local list, from, at = {}, 1, 1
  while true do
    local i, c = find_outside(text, "{;", at)
    if not i then return list end
    if c == ";" then
      list[#list + 1] = text:sub(from, i):match("^%s*(.*)$")
      from, at = i + 1, i + 1
    else
      local head, behind = text:sub(from, i - 1), behind_braces(text, i)
      if head:find("%)%s*$") and not head:find("__attribute__%s*%b()%s*$") then -- a function
        from = behind
      end
      at = behind
    end
  end
end

local function for_luajit(declaration)
  return (declaration:gsub("_Atomic%s*%((.-)%)", "%1"):gsub("%f[%w_]_Atomic%f[^%w_]", "")
    :gsub("%f[%w_]_Alignas%s*(%b())", "__attribute__((aligned%1))"):gsub("%f[%w_]_Noreturn%f[^%w_]", "")
    :gsub("__attribute__%s*%(%(format%s*%b()%)%)", ""))
end

local function declare(declaration, header)
  if declaration:find("^static") or declaration:find("^_Static_assert") then return end
  local ok, err = pcall(ffi.cdef, for_luajit(declaration))
  if ok or err:find("attempt to redefine", 1, true) then return end -- the latter: gateway.ffi, or an earlier load, has it
  cdef.skipped[#cdef.skipped + 1] = { header = header, declaration = declaration, reason = err }
  local tag = declaration:match("^typedef%s+struct%s+([%w_]+)%s*{") or declaration:match("^struct%s+([%w_]+)%s*{")
  if tag then
    local name = declaration:match("^typedef.*}.-([%w_]+)%s*;$")
    pcall(ffi.cdef, name and ("typedef struct %s %s;"):format(tag, name) or ("struct %s;"):format(tag))
  end
end

-- Runtime headers in the order in which the preprocessor meets them, each with its own text.
local function preprocess(header)
  local command = ("cc -E -std=gnu11 -Iruntime $(pkg-config --cflags luajit) runtime/%s 2>&1"):format(header)
  local pipe = assert(io.popen("unset LD_PRELOAD; " .. command))
  local order, texts, current = {}, {}, nil
  for line in pipe:lines() do
    local file = line:match('^# %d+ "([^"]*)"')
    if file then
      current = file:match("^runtime/(.*%.h)$")
      if current and not texts[current] then
        texts[current] = {}
        order[#order + 1] = current
      end
    elseif line:find(": error: ", 1, true) or line:find("fatal error: ", 1, true) then
      pipe:close()
      error("cannot preprocess runtime/" .. header .. ": " .. line, 0)
    elseif current and not line:find("^#") then
      table.insert(texts[current], line)
    end
  end
  pipe:close()
  return order, texts
end

-- The headers that it includes go first, each as a header of its own: their declarations stand in the midst of its text.
local function load_header(header)
  if state.loaded[header] then return end
  local order, texts = preprocess(header)
  for _, name in ipairs(order) do
    if name ~= header and not state.loaded[name] then load_header(name) end
  end
  state.loaded[header] = true
  for _, declaration in ipairs(declarations(table.concat(texts[header] or {}, "\n"))) do declare(declaration, header) end
end

--- Declares the headers (paths below runtime/) and gives the library: functions and enum constants are its fields.
function cdef.load(...)
  -- The library's own declarations come first: it wants to make all of them, where this skips what is there.
  if not state.library_tried and io.open("lua/gateway/ffi.lua") then
    state.library_tried = true
    package.path = package.path:find("lua/?.lua", 1, true) and package.path or "lua/?.lua;lua/?/init.lua;" .. package.path
    pcall(require, "gateway.ffi")
  end
  for _, header in ipairs { "base/base.h", ... } do load_header(header) end
  state.handle = state.handle or ffi.load(cdef.library)
  return state.handle
end

--- A gw_slice on a copy of the bytes that ends exactly where its memory ends, so that AddressSanitizer sees who reads on. Empty is
-- {non-NULL, 0}; nil is {NULL, 0}. The bytes live as long as the returned slice: hold on to it.
function cdef.slice(bytes)
  if bytes == nil then return ffi.new("gw_slice") end
  local memory = ffi.C.gwt_malloc(#bytes)
  if memory == nil then error("out of memory", 2) end
  memory = ffi.gc(memory, ffi.C.gwt_free)
  ffi.copy(memory, bytes, #bytes)
  local slice = ffi.new("gw_slice", ffi.cast("const char *", memory), #bytes)
  state.anchors[slice] = memory
  return slice
end

--- The bytes of a gw_slice as a string; nil for {NULL, 0}.
function cdef.text(slice)
  if slice.ptr == nil then return nil end
  return ffi.string(slice.ptr, slice.len)
end

return cdef
