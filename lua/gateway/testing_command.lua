-- `gateway test`: busted in this program. The words behind it are busted's own, so its output handlers and filters are all there.

local MISSING = "gateway test needs busted, which is not installed: apt-get install lua-busted\n"

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

---@param words string[]
---@return integer status
return function(words)
  local args = { [0] = "gateway test" }
  local named = false
  for _, word in ipairs(words) do
    if word ~= "--" then args[#args + 1] = word end
    named = named or (word:sub(1, 1) ~= "-" and exists(word))
  end
  if not named and not exists("spec") and not exists(".busted") then args[#args + 1] = "." end

  local found, runner = pcall(require, "busted.runner")
  if not found then
    if not tostring(runner):find("module 'busted.runner' not found", 1, true) then
      io.stderr:write("gateway test: busted cannot be loaded: ", tostring(runner), "\n")
    else
      io.stderr:write(MISSING)
    end
    return 1
  end
  _G.arg = args
  -- busted calls itself by the name of the file that called it.
  local start = assert(loadstring("local runner = ...; local result = runner { standalone = false }; return result", "@gateway test"))
  local good, problem = pcall(start, runner)
  if good then return 0 end
  if problem ~= nil then io.stderr:write("gateway test: ", tostring(problem), "\n") end -- nil: what was wrong has been said
  return 1
end
