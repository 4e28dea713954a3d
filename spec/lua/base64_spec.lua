-- gateway.base64: RFC 4648's vectors (section 10), and what a strict decoder refuses.

local base64 = require "gateway.base64"

describe("base64", function()
  for _, case in ipairs {
    { "", "", "" }, { "f", "Zg==", "Zg" }, { "fo", "Zm8=", "Zm8" }, { "foo", "Zm9v", "Zm9v" }, { "foob", "Zm9vYg==", "Zm9vYg" },
    { "fooba", "Zm9vYmE=", "Zm9vYmE" }, { "foobar", "Zm9vYmFy", "Zm9vYmFy" }, { "\251\255\191", "+/+/", "-_-_" },
    { "\0\0", "AAA=", "AAA" },
  } do
    local bytes, padded, url = case[1], case[2], case[3]
    it(("writes and reads %q"):format(padded), function()
      assert.equal(padded, base64.encode(bytes))
      assert.equal(bytes, base64.decode(padded))
      assert.equal(url, base64.encode_url(bytes))
      assert.equal(bytes, base64.decode_url(url))
      assert.equal(bytes, base64.decode_url(url, true))
    end)
  end

  for _, case in ipairs {
    { "a missing padding", "decode", "Zg", 3 }, { "too little padding", "decode", "Zg=", 3 },
    { "padding alone", "decode", "====", 1 }, { "too much padding", "decode", "Zg===", 3 },
    { "padding in the midst", "decode", "Zg==Zg==", 3 },
    { "a line end", "decode", "Zm9v\n", 5 }, { "a blank", "decode", "Zm 9", 3 }, { "the other alphabet", "decode", "-_-_", 1 },
    { "bits behind the last byte", "decode", "Zh==", 2 }, { "bits behind the last two bytes", "decode", "Zm9=", 3 },
    { "a single character", "decode_url", "Zm9vY", 5 }, { "padding where there is none", "decode_url", "Zg==", 3 },
    { "the other alphabet for URLs", "decode_url", "+/+/", 1 },
    { "a NUL", "decode_url", "Zm\0v", 3 }, { "no ASCII", "decode_url", "Zm9\255", 4 },
  } do
    it("refuses " .. case[1], function()
      local bytes, problem = base64[case[2]](case[3])
      assert.is_nil(bytes)
      assert.equal(("base64: wrong at byte %d of %d"):format(case[4], #case[3]), problem)
    end)
  end

  it("takes padding in a URL's alphabet where it is told to", function()
    assert.equal("f", base64.decode_url("Zg==", true))
    assert.is_nil((base64.decode_url("Zg=", true)))
  end)

  it("reads what it wrote, at any length", function()
    local bytes = {}
    for i = 1, 300 do
      bytes[i] = string.char((i * 89 + 7) % 256)
      local text = table.concat(bytes)
      assert.equal(text, base64.decode(base64.encode(text)))
      assert.equal(text, base64.decode_url(base64.encode_url(text)))
    end
  end)

  it("raises at the caller's line for what is no string", function()
    for name, call in pairs(base64) do
      local good, problem = pcall(function()
        local text = call(5)
        return text
      end)
      assert.is_false(good)
      assert.truthy(problem:find(("base64_spec.lua:%%d+: base64.%s: expected a string, found 5$"):format(name)), problem)
    end
  end)
end)
