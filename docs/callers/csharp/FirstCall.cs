// A first call through the gateway with .NET 8 and no package.
//
//   FirstCall TOKEN_ENDPOINT CLIENT_ID KEY.pem PURPOSE URL
//
// The key is PKCS#8 PEM on the curve P-256. Prints the answer's body; ends with 1 where the gateway refuses.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

string endpoint = args[0], clientId = args[1], purpose = args[3], url = args[4];
using var key = ECDsa.Create();
key.ImportFromPem(File.ReadAllText(args[2]));
var point = key.ExportParameters(false).Q;
// RFC 7638: the members in this order, and nothing else.
var jwk = $"{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{Encode(point.X!)}\",\"y\":\"{Encode(point.Y!)}\"}}";
// No token goes through a proxy that the environment or the system names.
using var http = new HttpClient(new HttpClientHandler { UseProxy = false });

using var granted = await WithNonce(nonce =>
{
    var request = new HttpRequestMessage(HttpMethod.Post, endpoint)
    {
        Content = new FormUrlEncodedContent(new Dictionary<string, string>
        {
            ["grant_type"] = "client_credentials",
            ["client_id"] = clientId,
            ["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ["client_assertion"] = Assertion(),
        }),
    };
    request.Headers.TryAddWithoutValidation("DPoP", Proof("POST", endpoint, nonce, null));
    return request;
});
var token = JsonDocument.Parse(await Require(granted)).RootElement.GetProperty("access_token").GetString()!;

using var answer = await WithNonce(nonce =>
{
    var request = new HttpRequestMessage(HttpMethod.Get, url);
    request.Headers.TryAddWithoutValidation("Authorization", "DPoP " + token);
    request.Headers.TryAddWithoutValidation("DPoP", Proof("GET", url, nonce, token));
    request.Headers.TryAddWithoutValidation("Sharing-Purpose", purpose);
    return request;
});
Console.WriteLine(await Require(answer));

// RFC 7523: who asks for the token.
string Assertion()
{
    var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    return Jwt($"{{\"alg\":\"ES256\",\"kid\":\"{Digest(jwk)}\"}}", new Dictionary<string, object>
    {
        ["iss"] = clientId, ["sub"] = clientId, ["aud"] = endpoint, ["iat"] = now, ["exp"] = now + 60,
        ["jti"] = Guid.NewGuid().ToString(),
    });
}

// RFC 9449: that the sender holds the key; one proof a request.
string Proof(string method, string target, string? nonce, string? bound)
{
    var claims = new Dictionary<string, object>
    {
        ["htm"] = method, ["htu"] = target.Split('?', '#')[0], ["jti"] = Guid.NewGuid().ToString(),
        ["iat"] = DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
    };
    if (nonce is not null) claims["nonce"] = nonce;
    if (bound is not null) claims["ath"] = Digest(bound);
    return Jwt($"{{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{jwk}}}", claims);
}

string Jwt(string header, Dictionary<string, object> claims)
{
    var input = Encode(Encoding.UTF8.GetBytes(header)) + "." + Encode(JsonSerializer.SerializeToUtf8Bytes(claims));
    // r and s side by side, as RFC 7518 3.4 asks: the default of SignData.
    return input + "." + Encode(key.SignData(Encoding.ASCII.GetBytes(input), HashAlgorithmName.SHA256));
}

static string Digest(string text) => Encode(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

static string Encode(byte[] data) => Convert.ToBase64String(data).TrimEnd('=').Replace('+', '-').Replace('/', '_');

// The first answer gives a nonce (400 from the token endpoint, 401 from the data plane): made again with it.
async Task<HttpResponseMessage> WithNonce(Func<string?, HttpRequestMessage> request)
{
    var first = await http.SendAsync(request(null));
    var says = first.Headers.WwwAuthenticate + (first.IsSuccessStatusCode ? "" : await first.Content.ReadAsStringAsync());
    if (!says.Contains("use_dpop_nonce") || !first.Headers.TryGetValues("DPoP-Nonce", out var nonces)) return first;
    first.Dispose();
    return await http.SendAsync(request(nonces.First()));
}

static async Task<string> Require(HttpResponseMessage response)
{
    var body = await response.Content.ReadAsStringAsync();
    if (response.IsSuccessStatusCode) return body;
    Console.Error.WriteLine(body);
    Environment.Exit(1);
    return "";
}
