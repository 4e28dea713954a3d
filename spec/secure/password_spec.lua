-- Password hashes: those that other programs made, and those that are refused with their reason.

local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("secure/password.h")

local function check(hash, password)
  local h, p = cdef.slice(hash), cdef.slice(password)
  return C.gw_password_check(h.ptr, h.len, p.ptr, p.len)
end

local function problem(hash)
  local h = cdef.slice(hash)
  local text = C.gw_password_problem(h.ptr, h.len)
  if text == nil then return nil end
  return ffi.string(text)
end

local bcrypt = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" -- crypt_blowfish's own test
local made = { -- by mkpasswd
  { bcrypt, "U*U" },
  { "$2b$05$ojGfEq7gPedWulmjtFqK3eLv/kmAg0p2.kVO/yFcCaZGXXDZPGBZe", "correct horse" },
  { "$2a$05$Xl4dTPorxdDu8p69tRZIWu2onFac71.R/r78FzQUFVeG6s.FW6EL6", "correct horse" },
  { "$y$j9T$j5SK3vJvDldgI9yPXvdJ7/$jp6OvDiG0D9H8hMmwZZ1M2na64heS4pXJm7bHj/rAP5",
    "correct horse" },
  { "$gy$j9T$L/6EDGPl1DqMrAxnmspHJ0$ChXUPYXOQdg4r8n2ICcuCadk6Js.CMsKJP7vPRTQNQ5",
    "correct horse" },
  { "$7$CU..../....RJG3w7/o3qHNJlil251mF/$ZLich2fmZIpjnbqr.9qcuQfeymQLomV0P1AJaRJRzK8",
    "correct horse" },
  { "$6$lz3hl5IToRleWZEt$0XJK2mL5gCWcQlbp4.d5A6sakrSAeixkGMXLUdYNe7jAYPrfDljSGyWG5T0IdVhhblvZawUuCXhzqyHiPoJIC1",
    "correct horse" },
  { "$5$.kuwhmlqZtSwcJ.a$gXuUmeEYxns2uB/V9kOyH2CgLK9vzV7c3ogqsZaBzU2",
    "correct horse" },
  { "$6$rounds=1000$8VhwMVxgPO.iWOyC$iqgddahihHUyOutGVBc2M6Yc.3YlIH9SXQSKjniZ0u2K9oStu8Sx32ppbgGcIRC/GPwJvaxJnRzxjIv1EA9aE.",
    "correct horse" },
}

describe("a password hash", function()
  for _, case in ipairs(made) do
    it("is checked: " .. case[1]:sub(1, 12), function()
      assert.is_nil(problem(case[1]))
      assert.equal(1, check(case[1], case[2]))
      assert.equal(0, check(case[1], case[2] .. "x"))
      assert.equal(0, check(case[1], ""))
      assert.equal(0, check(case[1], case[2] .. "\0"))
    end)
  end

  it("is nobody's when the password is longer than any", function()
    assert.equal(0, check(bcrypt, ("x"):rep(512)))
    assert.equal(0, check(bcrypt, ("x"):rep(100000)))
  end)

  for _, case in ipairs {
    { "nothing", "", "it is empty" }, { "plain text", "secret", "it is no hash that is known" },
    { "DES", "abJnggxhB/yWI", "it is no hash that is known" }, { "an unknown prefix", "$9$abc$def", "it is no hash that is known" },
    { "argon2", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
      "argon2 is not supported by this system's" },
    { "Apache's MD5", "$apr1$abc$def", "Apache's MD5 hashes ($apr1$) are too weak" },
    { "MD5-crypt", "$1$a$b", "MD5-crypt ($1$) is too weak" },
    { "LDAP's", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "LDAP's hashes" },
    { "broken bcrypt", "$2x$" .. bcrypt:sub(5), "$2x$ marks" },
    { "half of bcrypt", bcrypt:sub(1, 59), "a bcrypt hash is" }, { "bcrypt and more", bcrypt .. "x", "a bcrypt hash is" },
    { "bcrypt without letters", bcrypt:gsub("CCCC", "CC:C"), "a bcrypt hash is" },
    { "bcrypt that never ends", bcrypt:gsub("%$05", "$31"), "the cost of a bcrypt hash must be 4 to 16" },
    { "SHA-crypt that never ends", "$6$rounds=999999999$abc$" .. ("x"):rep(86), "the rounds of a SHA-crypt hash" },
    { "SHA-crypt of few rounds", "$5$rounds=1$abc$" .. ("x"):rep(43), "the rounds of a SHA-crypt hash" },
    { "half of SHA-crypt", "$6$abc$" .. ("x"):rep(85), "the SHA-crypt hash is not complete" },
    { "a prefix", "$6$", "the SHA-crypt hash is not complete" }, { "a prefix of yescrypt", "$y$", "the hash is not complete" },
    { "a long text", "$6$" .. ("x"):rep(300), "it is longer than any hash" },
  } do
    it("is refused: " .. case[1], function()
      assert.equal(case[3], (problem(case[2]) or "nothing"):sub(1, #case[3]))
      assert.equal(C.GW_INVALID, check(case[2], "secret"))
    end)
  end
end)
