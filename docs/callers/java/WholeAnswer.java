// Reads an answer and knows whether it is whole, with the JDK alone (17 or newer).
//
//   java WholeAnswer.java URL TOKEN PURPOSE
//
// Prints the answer; ends with 1 where it was cut. java.net.http shows no trailers, so a closing line is asked for.
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Base64;

public class WholeAnswer {
    static final String LINE = "\n{\"sharing-closing\":{\"sha-256\":\"";

    static byte[] whole(HttpResponse<byte[]> answer) throws Exception {
        byte[] content = answer.body();
        if (!"line".equals(answer.headers().firstValue("Sharing-Closing").orElse(""))) {
            return content;
        }
        String text = new String(content, StandardCharsets.ISO_8859_1); // a character for each octet
        int at = text.lastIndexOf(LINE);
        int end = at < 0 ? -1 : text.indexOf('"', at + LINE.length());
        if (end < 0) {
            throw new IOException("the answer was cut");
        }
        byte[] before = Arrays.copyOf(content, at);
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(before);
        if (!Base64.getEncoder().encodeToString(digest).equals(text.substring(at + LINE.length(), end))) {
            throw new IOException("the answer was cut");
        }
        return before;
    }

    public static void main(String[] arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .header("Authorization", "Bearer " + arguments[1])
            .header("Sharing-Purpose", arguments[2])
            .header("Sharing-Closing", "line")
            .build();
        try {
            System.out.write(whole(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofByteArray())));
            System.out.flush();
        } catch (IOException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }
}
