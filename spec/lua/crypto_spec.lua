-- gateway.crypto: published vectors (FIPS 180-4, RFC 1321, 4231, 7515, 8037), signatures that the openssl command made, and all that a key
-- must not be used for.

local base64 = require "gateway.base64"
local crypto = require "gateway.crypto"
local keys = require "spec.support.keys"

local function key(source) return assert(crypto.key(source)) end

describe("a digest", function()
  local long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
  for _, case in ipairs {
    { "md5", "", "d41d8cd98f00b204e9800998ecf8427e" }, { "md5", "abc", "900150983cd24fb0d6963f7d28e17f72" },
    { "sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" }, { "sha1", long, "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
    { "sha256", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "sha256", long, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "sha384", "abc", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7" },
    { "sha512", "abc", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" ..
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
  } do
    it(("%s of %d bytes"):format(case[1], #case[2]), function()
      assert.equal(case[3], crypto[case[1] .. "_hex"](case[2]))
      assert.equal(case[3], crypto.hex(crypto[case[1]](case[2])))
    end)
  end

  it("wants a string", function()
    assert.equal("crypto.sha256: expected a string, found 5", select(2, pcall(crypto.sha256, 5)))
  end)
end)

describe("HMAC", function()
  -- RFC 4231
  for i, case in ipairs {
    { ("\11"):rep(20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
      "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854" },
    { "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737" },
    { ("\170"):rep(20), ("\221"):rep(50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
    { ("\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First",
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598" },
  } do
    it("of RFC 4231's case " .. i, function()
      assert.equal(case[3], crypto.hmac_hex("sha256", case[1], case[2]))
      if case[4] then assert.equal(case[4], crypto.hmac_hex("sha512", case[1], case[2])) end
      assert.equal(case[3], crypto.hex(crypto.hmac("sha256", case[1], case[2])))
    end)
  end

  it("takes an empty key for one, after another", function()
    local before = crypto.hmac_hex("sha256", "", "")
    crypto.hmac("sha256", "key", "text")
    assert.equal("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", before)
    assert.equal(before, crypto.hmac_hex("sha256", "", ""))
  end)

  it("says which algorithm was meant", function()
    local function call(...)
      local mac = crypto.hmac(...)
      return mac
    end
    local _, problem = pcall(call, "sha265", "a", "b")
    assert.truthy(problem:find('crypto_spec.lua:%d+: crypto.hmac: unknown algorithm "sha265" %(did you mean "sha256"%?%)'))
    _, problem = pcall(call, "sha256", nil, "b")
    assert.truthy(problem:find("crypto_spec.lua:%d+: crypto.hmac: key: expected a string, found nothing"))
  end)
end)

describe("bytes", function()
  it("become hexadecimal digits, and back", function()
    assert.equal("00ff10", crypto.hex("\0\255\16"))
    assert.equal("\0\255\16", crypto.unhex("00fF10"))
    for _, bad in ipairs { "0", "0g", " 00" } do assert.is_nil((crypto.unhex(bad))) end
  end)

  it("are compared", function()
    assert.is_true(crypto.equal("", ""))
    assert.is_true(crypto.equal("ab", "ab"))
    for _, pair in ipairs { { "ab", "ac" }, { "ab", "a" }, { "", "a" }, { nil, nil }, { 5, 5 }, { "5", 5 } } do
      assert.is_false(crypto.equal(pair[1], pair[2]))
    end
  end)

  it("at random differ", function()
    local seen = {}
    for n = 16, 64 do
      local bytes = crypto.random(n)
      assert.equal(n, #bytes)
      assert.is_nil(seen[bytes:sub(1, 16)])
      seen[bytes:sub(1, 16)] = true
    end
    assert.equal(65536, #crypto.random(65536))
    for _, bad in ipairs { 0, -1, 1.5, 65537, "5", 0 / 0 } do assert.has_error(function() crypto.random(bad) end) end
  end)
end)

-- A JSON Web Signature against its key.
local function verify(jws, jwk, algorithm)
  local head, payload, signature = jws:match("^([^.]+)%.([^.]+)%.([^.]+)$")
  return crypto.verify(algorithm, key(jwk), head .. "." .. payload, assert(base64.decode_url(signature)))
end

local joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
local published = {
  { "RFC 7515 A.1", "HS256", { kty = "oct",
    k = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" },
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." .. joe .. ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" },
  { "RFC 7515 A.2", "RS256", { kty = "RSA", e = "AQAB",
    n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs" ..
      "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV" ..
      "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" },
    "eyJhbGciOiJSUzI1NiJ9." .. joe .. ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp" ..
      "5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_" ..
      "dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw" },
  { "RFC 7515 A.3", "ES256", { kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
    "eyJhbGciOiJFUzI1NiJ9." .. joe .. ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
  { "RFC 8037 A.4", "EdDSA", { kty = "OKP", crv = "Ed25519", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7" ..
      "sVvpAr_MuM0KAg" },
}

describe("a signature", function()
  for _, case in ipairs(published) do
    it("of " .. case[1], function()
      assert.is_true(verify(case[4], case[3], case[2]))
      assert.is_false(verify(case[4]:gsub("%.eyJpc3M", ".eyJpc3N"):gsub("%.RXhh", ".RXhi"), case[3], case[2]))
      assert.is_false(verify(case[4]:gsub("(%.[^.]*)%u([^.]+)$", function(a, b) return a .. "x" .. b end), case[3], case[2]))
    end)
  end

  it("of the openssl command", function()
    local pss = base64.decode(
      "E4Qv6b3hGZzDiUwgaexTdWXBle+hgQrN5SIOL09ahp4GNTTrOftKaF+ALAg47KgLhaDgllWiZkxRryRnKPqxDGE/4E9MtllTsH3Kve7QLiqXZOVTf808K96O" ..
      "XiuCIPNR8t/efhZ2+JSzpML73f1rhYC3TBaGDW+D7mvM1meL7QdZTuDQp5hMvMKpkNBqLuhtUYj98qlgcfWQWX5dr+juJjV9OS/Ni1xS/U0R4qCcCBRKc97P" ..
      "uiI23NxIlxAzurCwy4m/DLYAeykp61cLYa1ESGjzvyJvcLB105dvODna63d4+hDJulKMKrKq5By55M1E51zYbB3wvioTcBiuI/ZPfQ==")
    assert.is_true(crypto.verify("PS256", key(keys.rsa_public), "signed text", pss))
    assert.is_false(crypto.verify("RS256", key(keys.rsa_public), "signed text", pss))
    assert.is_false(crypto.verify("PS256", key(keys.rsa_public), "signed texT", pss))
  end)

  for _, case in ipairs {
    { "RS256", "rsa", 256 }, { "RS384", "rsa", 256 }, { "RS512", "rsa", 256 }, { "PS256", "rsa", 256 }, { "PS384", "rsa", 256 },
    { "PS512", "rsa", 256 }, { "ES256", "p256", 64 }, { "ES384", "p384", 96 }, { "ES512", "p521", 132 }, { "EdDSA", "ed25519", 64 },
    { "EdDSA", "ed448", 114 },
  } do
    it(("by %s with %s"):format(case[1], case[2]), function()
      local private, public = key(keys[case[2]]), key(keys[case[2] .. "_public"])
      for i = 1, 8 do
        local text = ("x"):rep(i * 31)
        local signature = assert(crypto.sign(case[1], private, text))
        assert.equal(case[3], #signature)
        assert.is_true(crypto.verify(case[1], public, text, signature))
        assert.is_true(crypto.verify(case[1], private, text, signature))
        assert.is_false(crypto.verify(case[1], public, text .. "x", signature))
        assert.is_false(crypto.verify(case[1], public, text, signature:sub(1, -2)))
        assert.is_false(crypto.verify(case[1], public, text, signature .. "x"))
        assert.is_false(crypto.verify(case[1], public, text, ""))
        assert.is_false(crypto.verify(case[1], public, text, ("\0"):rep(#signature)))
      end
      assert.same({ nil, "a public key cannot sign" }, { crypto.sign(case[1], public, "text") })
    end)
  end

  for _, algorithm in ipairs { "HS256", "HS384", "HS512" } do
    it("by " .. algorithm, function()
      local secret = crypto.secret("hush")
      local signature = crypto.sign(algorithm, secret, "text")
      assert.is_true(crypto.verify(algorithm, secret, "text", signature))
      assert.is_false(crypto.verify(algorithm, secret, "text", signature:sub(2)))
      assert.is_false(crypto.verify(algorithm, crypto.secret("hush "), "text", signature))
    end)
  end
end)

describe("a key", function()
  for _, case in ipairs {
    { "rsa", "RSA", 2048, true }, { "rsa_public", "RSA", 2048 }, { "rsa_pkcs1", "RSA", 2048 }, { "p256", "P-256", 256, true },
    { "p256_public", "P-256", 256 }, { "p256_sec1", "P-256", 256, true }, { "p256_certificate", "P-256", 256 },
    { "p384_public", "P-384", 384 }, { "p521_public", "P-521", 521 }, { "ed25519_public", "Ed25519", 253 },
    { "ed448_public", "Ed448", 448 },
  } do
    it("is read from " .. case[1], function()
      local k = key(keys[case[1]])
      assert.equal(case[2], k.kind)
      assert.equal(case[4] or false, k.private)
      assert.is_true(math.abs(case[3] - k.bits) <= 8)
      assert.equal(("a key (%s)"):format(case[2]), tostring(k))
    end)
  end

  for _, case in ipairs {
    { "no PEM", "secret", 'there is no line "-----BEGIN ..." in it' },
    { "nothing", "", 'there is no line "-----BEGIN ..." in it' },
    { "a long text", ("-----BEGIN "):rep(10000), "the text is longer than 64 KB" },
    { "a broken key", keys.p256_public:gsub("M", "N", 1), "the public key or certificate could not be read" },
    { "a broken certificate", keys.p256_certificate:gsub("\nMI", "\nXX"), "the public key or certificate could not be read" },
    { "half a key", keys.rsa:sub(1, 800), "the private key could not be read" },
    { "an encrypted key", keys.p256_encrypted, "the private key needs a pass phrase" },
    { "a short RSA key", keys.rsa_1024, "an RSA key must have 2048 to 8192 bits" },
    { "another curve", keys.secp256k1, "the curve of an EC key must be P-256, P-384 or P-521" },
    { "no kind", {}, "a JSON Web Key: unknown kty nothing; known: EC, OKP, RSA, oct" },
    { "a wrong kind", { kty = "EX" }, 'a JSON Web Key: unknown kty "EX" (did you mean "EC"?)' },
    { "no number", { kty = "RSA", e = "AQAB" }, 'a JSON Web Key (RSA): "n": expected base64url, found nothing' },
    { "padding", { kty = "RSA", e = "AQAB", n = "AQ==" }, 'a JSON Web Key (RSA): "n": base64: wrong at byte 3 of 4' },
    { "a short modulus", { kty = "RSA", e = "AQAB", n = base64.encode_url(("\255"):rep(128)) },
      "a JSON Web Key (RSA): an RSA key must have 2048 to 8192 bits" },
    { "a long modulus", { kty = "RSA", e = "AQAB", n = base64.encode_url(("\255"):rep(2048)) },
      "a JSON Web Key (RSA): n must be a modulus of 2048 to 8192 bits and e an exponent of at most 64" },
    { "the exponent 1", { kty = "RSA", e = "AQ", n = published[2][3].n }, "a JSON Web Key (RSA): n and e must be odd, and e above 1" },
    { "an even modulus", { kty = "RSA", e = "AQAB", n = base64.encode_url(("\254"):rep(256)) },
      "a JSON Web Key (RSA): n and e must be odd, and e above 1" },
    { "a point beside the curve", { kty = "EC", crv = "P-256", x = published[3][3].x, y = published[3][3].x },
      "a JSON Web Key (EC): the point is not on the curve" },
    { "a short coordinate", { kty = "EC", crv = "P-384", x = published[3][3].x, y = published[3][3].y },
      "a JSON Web Key (EC): a coordinate has not the curve's length" },
    { "another curve's name", { kty = "EC", crv = "secp256k1", x = "AA", y = "AA" },
      'a JSON Web Key (EC): unknown curve "secp256k1"; known: P-256, P-384, P-521' },
    { "another use", { kty = "oct", k = "AAAA", alg = "A128KW" },
      'a JSON Web Key (oct): alg "A128KW" is none for signatures of a key of this kind' },
    { "an empty secret", { kty = "oct", k = "" }, 'a JSON Web Key (oct): "k": expected bytes, found none' },
    { "an id that is none", { kty = "oct", k = "AAAA", kid = 5 }, "a JSON Web Key (oct): kid: expected a string, found 5" },
  } do
    it("is not made of " .. case[1], function()
      local k, problem = crypto.key(case[2])
      assert.is_nil(k)
      assert.equal(case[3], problem)
    end)
  end

  it("is used for its own algorithms only", function()
    local all = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512" }
    for _, k in ipairs { key(keys.rsa_public), key(keys.p256), key(keys.p384), key(keys.p521), key(keys.ed25519), crypto.secret("s") } do
      for _, algorithm in ipairs(all) do
        if not k.algorithms[algorithm] then
          assert.same({ nil, ("a key of kind %s is none for %s"):format(k.kind, algorithm) },
            { crypto.verify(algorithm, k, "text", "signature") })
          assert.is_nil((crypto.sign(algorithm, k, "text")))
        end
      end
    end
  end)

  it("is bound to the algorithm that it names", function()
    local jwk = { kty = "oct", k = "aHVzaA", alg = "HS512", kid = "one" }
    local k = key(jwk)
    assert.equal("one", k.id)
    assert.is_true(crypto.verify("HS512", k, "text", crypto.hmac("sha512", "hush", "text")))
    assert.is_nil((crypto.verify("HS256", k, "text", crypto.hmac("sha256", "hush", "text"))))
  end)

  it("is no plain string: who asks for HS256 with a public key's text has no luck", function()
    assert.equal("crypto.verify: expected a key of crypto.key or crypto.secret, found \"hush\"",
      select(2, pcall(crypto.verify, "HS256", "hush", "a", "b")))
  end)

  it("wants a known algorithm", function()
    local none = { crypto.verify("none", crypto.secret("a"), "text", "") }
    assert.is_nil(none[1])
    assert.truthy(none[2]:find('unknown algorithm "none"', 1, true))
    assert.same({ nil, 'unknown algorithm "RS257" (did you mean "RS256"?)' }, { crypto.verify("RS257", crypto.secret("a"), "text", "") })
    assert.is_nil((crypto.verify(nil, crypto.secret("a"), "text", "")))
  end)

  it("goes with the collector", function()
    for _ = 1, 500 do key(keys.p256_public) end
    collectgarbage()
    collectgarbage()
  end)
end)
