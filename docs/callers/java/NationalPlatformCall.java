// A call by the national exchange platform's signed headers, with Java 17 and nothing but the JDK.
//
//   java NationalPlatformCall.java CALLER_ID SERVICE_ID SECRET_FILE URL
//
// The secret stands in a file and not among the arguments, where every user of the machine could read it.
// Prints the answer's body; ends with 1 where the gateway refuses.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class NationalPlatformCall {
    public static void main(String[] arguments) throws Exception {
        String caller = arguments[0], service = arguments[1], url = arguments[3];
        byte[] secret = Files.readString(Path.of(arguments[2])).strip().getBytes(StandardCharsets.UTF_8);
        String time = Long.toString(System.currentTimeMillis());
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret, "HmacSHA256"));
        byte[] digest = mac.doFinal((service + caller + time).getBytes(StandardCharsets.UTF_8));

        HttpResponse<String> answer = HttpClient.newBuilder().proxy(HttpClient.Builder.NO_PROXY).build().send(
                HttpRequest.newBuilder(URI.create(url))
                        .header("gjgxjhpt_rid", caller)
                        .header("gjgxjhpt_sid", service)
                        .header("gjgxjhpt_rtime", time)
                        .header("gjgxjhpt_sign", Base64.getEncoder().encodeToString(digest))
                        .GET()
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() >= 300) {
            System.err.println(answer.body());
            System.exit(1);
        }
        System.err.println("record " + answer.headers().firstValue("Sharing-Record").orElse(""));
        System.out.println(answer.body());
    }
}
