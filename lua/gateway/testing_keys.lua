-- Keys for tests. They are public: whoever trusts them trusts everybody.

local keys = {}

keys.HS256 = { private = "a secret of tests, known to everybody", public = "a secret of tests, known to everybody" }
keys.HS384, keys.HS512 = keys.HS256, keys.HS256

keys.RS256 = {
  private = [[
-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDNeDeWvMTsirC4
yZp/o3X8tBltUzsjc3ZYT7QVGdG33VFmicO3zOCBzSDbK6MCjivkBSLfxKbgzr04
kkt9z0c81dVX7cND7qde2iB9KvwrvzaDgfnYpI6XMrxt+lX0hww4P95ua03KHlB0
curMVk/mJ59PiZcFPBzS49gN5IbQLOgh6lvsQevw8zjReQuQ6xBwt0rIBFc6aJ42
HLo3tYiUMygGfsX98XZsCRytR1msM+Yzaje7a3d/AzN23ndtriUbpTrDxhuR9rFK
vANCgnZ/C1bMPDrGMcOPmi+dNJCU5yxd5qzAH4+osm6iNj2hEmTFxAe7vVkoWFyx
1t7yLIahAgMBAAECggEAYxiv9stkTpE1WmohUZ4MsaxK9ydFRnvRgBYwzFx/gSYE
tGeNNYBiZzf/uLT7EahwErFHeJTnx1TuffJQ5oSp3vVix92sZ38ayex57uRkatT1
/ccaMRpsiw+1QXWTLzRS+G4VYTvvcKPeOcuS4qpeLqq9cybw511uqWeqNEkbnBqu
ah3niB9enA3vJ4HNBapitNt1TBkvlVfuaX0oengKKt3AgPNaygXnlFGm1E9M/MDk
H7UxjG6f7nN9JSS4AdEtj+/eWpU6CvJtsOrw2gdbQ/g90g4gbwOMWz9ds0uxayPd
13bhwM/rN9sQm75QdFmmUZVW5YFz9Xmf9kCstymj4QKBgQD6KZuDeYIENlcpVP/y
ycp3BfzMCdt3EUfphd4A5fz66E02vVGxRweXQD/2UjqHF6bVfme7ZDVnG5bFFJtg
mgZGV/YHv4cw90ufAzyl3qy+EOTU52vwzzf81YFmCMEEBsjYBJXJObsh6WpwP3Uh
WK9tW2WQIr3C1k9H0uA/mLb1nwKBgQDSQ6DL1FZ+/psxMx5p52Y/4MwqlFCxppKE
mZpkHlXVw2tCvffKSaps/IqImXYqqrpIv7CkHGCIiiR7JKDN0OzAPM39eiQvFvif
05OQ7O/KF46++cZa9r/CM314HNSzkgcwr3QP2KqyfsK1kThcmfHhOth4SY72vgBa
6fkgGIybvwKBgQCjGQ1zIn1KEcOyBuD4geemwhiXTrXvYyzna4faPhg53cq5raTd
V9nzGsiY5/OQsDLtboRjAGpw1uPtignjaYg9xIt7cbvKiPCcs5eO7SbipFENHfSa
BAAUr361728oGORJMnQVxbXj3jKvDDBplVCKk9QbrQrbRK5bvXjG/eILMQKBgAFq
NRXKCv71xaOSHX1G8lgxsg4DS3u2jDvaMMDFt3wlwX4EeztgPYZYOLJsne/xkClX
KOAh1MB2dYJin7Zi1oUAo7416TJr7CZfLRoHjiGFAQ/l7GDGUkoDQK/jOccvj17T
f2tv4M4srjC8lm2BF7CVTcmZbR3Z73StKGD/6UpPAoGBAJOJaUvlG+OkrfY48XUm
C1AW65lBWhWRO9Mg8lBHJpEuVA7+EeDEuyyEAlQOW9wNsVv0WO/g3S/OBEBFnSYT
afxtCIv6Zyz9ANxjnwd5hnlvKkGpney7jx1lBZDnwzUOtU+DPs0sqAwjhqxtFLNH
jBwfUDyVPwflW5h8vClWAbfQ
-----END PRIVATE KEY-----
]],
  public = [[
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAzXg3lrzE7IqwuMmaf6N1
/LQZbVM7I3N2WE+0FRnRt91RZonDt8zggc0g2yujAo4r5AUi38Sm4M69OJJLfc9H
PNXVV+3DQ+6nXtogfSr8K782g4H52KSOlzK8bfpV9IcMOD/ebmtNyh5QdHLqzFZP
5iefT4mXBTwc0uPYDeSG0CzoIepb7EHr8PM40XkLkOsQcLdKyARXOmieNhy6N7WI
lDMoBn7F/fF2bAkcrUdZrDPmM2o3u2t3fwMzdt53ba4lG6U6w8YbkfaxSrwDQoJ2
fwtWzDw6xjHDj5ovnTSQlOcsXeaswB+PqLJuojY9oRJkxcQHu71ZKFhcsdbe8iyG
oQIDAQAB
-----END PUBLIC KEY-----
]],
}

keys.ES256 = {
  private = [[
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgIVaK5fFTkJVkvfPw
cCvYd/DBa/1/a4gJnZIYAwa7slKhRANCAARXCwMrYihLLsmbj2zxGBq2kzr+d/WM
E0HB1hgXvjBDN+9H4tLmwrhOqwFB0yJoORac+hLf99ecy92FIOJuwYQQ
-----END PRIVATE KEY-----
]],
  public = [[
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVwsDK2IoSy7Jm49s8RgatpM6/nf1
jBNBwdYYF74wQzfvR+LS5sK4TqsBQdMiaDkWnPoS3/fXnMvdhSDibsGEEA==
-----END PUBLIC KEY-----
]],
}

keys.EdDSA = {
  private = [[
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFNrA++9WU/hcawsvXCliVDxJpHHrVh+oDenPRlCSVbi
-----END PRIVATE KEY-----
]],
  public = [[
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAt4DcaZ8BWsqQDsdfWGuv0Wq5XUMHIX0JyQF8/W2Q3ms=
-----END PUBLIC KEY-----
]],
}

for _, alg in ipairs { "RS384", "RS512", "PS256", "PS384", "PS512" } do keys[alg] = keys.RS256 end

return keys
