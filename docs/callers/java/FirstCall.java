// A first call through the gateway with Java 17 and nothing but the JDK.
//
//   java FirstCall.java TOKEN_ENDPOINT CLIENT_ID KEY.pem PURPOSE URL
//
// The key is PKCS#8 PEM on the curve P-256. Prints the answer's body; ends with 1 where the gateway refuses.
import java.math.BigInteger;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.Signature;
import java.security.interfaces.ECPrivateKey;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.EllipticCurve;
import java.security.spec.ECFieldFp;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class FirstCall {
    private static final HttpClient HTTP = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1) // over plain HTTP it would ask for HTTP/2, which takes no body
            .proxy(HttpClient.Builder.NO_PROXY) // no token goes through a proxy that the system names
            .build();
    private static ECPrivateKey key;
    private static String jwk;

    public static void main(String[] arguments) throws Exception {
        String endpoint = arguments[0], clientId = arguments[1], purpose = arguments[3], url = arguments[4];
        key = readKey(Path.of(arguments[2]));
        jwk = publicJwk(key);

        HttpResponse<String> granted = withNonce(nonce -> HttpRequest.newBuilder(URI.create(endpoint))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("DPoP", proof("POST", endpoint, nonce, null))
                .POST(HttpRequest.BodyPublishers.ofString(form(Map.of(
                        "grant_type", "client_credentials",
                        "client_id", clientId,
                        "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                        "client_assertion", assertion(clientId, endpoint)))))
                .build());
        String token = member(require(granted).body(), "access_token");

        HttpResponse<String> answer = withNonce(nonce -> HttpRequest.newBuilder(URI.create(url))
                .header("Authorization", "DPoP " + token)
                .header("DPoP", proof("GET", url, nonce, token))
                .header("Sharing-Purpose", purpose)
                .GET()
                .build());
        System.err.println("record " + require(answer).headers().firstValue("Sharing-Record").orElse(""));
        System.out.println(answer.body());
    }

    private interface Request {
        HttpRequest with(String nonce) throws Exception;
    }

    /** The first answer gives a nonce (400 from the token endpoint, 401 from the data plane): made again with it. */
    private static HttpResponse<String> withNonce(Request request) throws Exception {
        HttpResponse<String> answer = HTTP.send(request.with(null), HttpResponse.BodyHandlers.ofString());
        String nonce = answer.headers().firstValue("DPoP-Nonce").orElse(null);
        String says = answer.headers().firstValue("WWW-Authenticate").orElse("") + answer.body();
        if (answer.statusCode() >= 400 && nonce != null && says.contains("use_dpop_nonce")) {
            answer = HTTP.send(request.with(nonce), HttpResponse.BodyHandlers.ofString());
        }
        return answer;
    }

    /** RFC 7523: who asks for the token. */
    private static String assertion(String clientId, String audience) throws Exception {
        long now = System.currentTimeMillis() / 1000;
        return jwt("{\"alg\":\"ES256\",\"kid\":\"" + sha256(jwk) + "\"}", object(
                "iss", clientId, "sub", clientId, "aud", audience, "iat", now, "exp", now + 60,
                "jti", UUID.randomUUID().toString()));
    }

    /** RFC 9449: that the sender holds the key; one proof a request. */
    private static String proof(String method, String target, String nonce, String token) throws Exception {
        long now = System.currentTimeMillis() / 1000;
        return jwt("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":" + jwk + "}", object(
                "htm", method, "htu", target.split("[?#]")[0], "iat", now, "jti", UUID.randomUUID().toString(),
                "nonce", nonce, "ath", token == null ? null : sha256(token)));
    }

    private static String jwt(String header, String claims) throws Exception {
        String input = base64url(header.getBytes(StandardCharsets.UTF_8)) + "."
                + base64url(claims.getBytes(StandardCharsets.UTF_8));
        // P1363 is r and s side by side, as RFC 7518 3.4 asks; Java's default is DER.
        Signature signature = Signature.getInstance("SHA256withECDSAinP1363Format");
        signature.initSign(key);
        signature.update(input.getBytes(StandardCharsets.US_ASCII));
        return input + "." + base64url(signature.sign());
    }

    private static ECPrivateKey readKey(Path file) throws Exception {
        String text = Files.readString(file).replaceAll("-----[A-Z ]+-----|\\s", "");
        return (ECPrivateKey) KeyFactory.getInstance("EC")
                .generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
    }

    /** The public key of a private one: the base point, added to itself as often as the private key says. */
    private static String publicJwk(ECPrivateKey key) throws Exception {
        ECParameterSpec curve = key.getParams();
        BigInteger prime = ((ECFieldFp) curve.getCurve().getField()).getP();
        ECPoint sum = null, power = curve.getGenerator();
        for (int bit = 0; bit < key.getS().bitLength(); bit++) {
            if (key.getS().testBit(bit)) {
                sum = sum == null ? power : add(sum, power, curve.getCurve(), prime);
            }
            power = add(power, power, curve.getCurve(), prime);
        }
        // RFC 7638: the members in this order, and nothing else.
        return "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" + coordinate(sum.getAffineX()) + "\",\"y\":\""
                + coordinate(sum.getAffineY()) + "\"}";
    }

    private static ECPoint add(ECPoint a, ECPoint b, EllipticCurve curve, BigInteger prime) {
        BigInteger slope = a.equals(b)
                ? a.getAffineX().pow(2).multiply(BigInteger.valueOf(3)).add(curve.getA())
                        .multiply(a.getAffineY().shiftLeft(1).modInverse(prime))
                : b.getAffineY().subtract(a.getAffineY())
                        .multiply(b.getAffineX().subtract(a.getAffineX()).modInverse(prime));
        BigInteger x = slope.pow(2).subtract(a.getAffineX()).subtract(b.getAffineX()).mod(prime);
        return new ECPoint(x, slope.multiply(a.getAffineX().subtract(x)).subtract(a.getAffineY()).mod(prime));
    }

    private static String coordinate(BigInteger value) {
        byte[] bytes = value.toByteArray(), fixed = new byte[32];
        int length = Math.min(32, bytes.length);
        System.arraycopy(bytes, bytes.length - length, fixed, 32 - length, length);
        return base64url(fixed);
    }

    private static String sha256(String text) throws Exception {
        return base64url(MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
    }

    private static String base64url(byte[] data) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(data);
    }

    private static String object(Object... members) {
        StringBuilder json = new StringBuilder("{");
        for (int i = 0; i < members.length; i += 2) {
            if (members[i + 1] != null) {
                json.append(json.length() == 1 ? "\"" : ",\"").append(members[i]).append("\":")
                        .append(members[i + 1] instanceof Long ? members[i + 1] : "\"" + members[i + 1] + "\"");
            }
        }
        return json.append("}").toString();
    }

    private static String form(Map<String, String> fields) {
        return fields.entrySet().stream()
                .map(field -> field.getKey() + "=" + URLEncoder.encode(field.getValue(), StandardCharsets.UTF_8))
                .collect(Collectors.joining("&"));
    }

    private static String member(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json);
        if (!found.find()) {
            throw new IllegalStateException("no " + name + " in the answer");
        }
        return found.group(1);
    }

    private static HttpResponse<String> require(HttpResponse<String> answer) {
        if (answer.statusCode() >= 300) {
            System.err.println(answer.body());
            System.exit(1);
        }
        return answer;
    }
}
