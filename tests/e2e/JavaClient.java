import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.io.ByteArrayInputStream;

/** Java's HttpClient with its defaults, as LangChain4j and Spring AI use it. */
public class JavaClient {
    /** Arguments: the server's URL, then pairs of path and body; "" as a body means GET. */
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int at = 1; at < arguments.length; at += 2) {
            byte[] body = arguments[at + 1].getBytes("UTF-8");
            HttpRequest.Builder ask = HttpRequest.newBuilder(URI.create(arguments[0] + arguments[at]));
            if (body.length == 0) {
                show(client.send(ask.build(), BodyHandlers.ofString()));
                continue;
            }
            ask.header("Content-Type", "application/json");
            // With a length; then without one, so in chunks.
            show(client.send(ask.POST(BodyPublishers.ofByteArray(body)).build(), BodyHandlers.ofString()));
            HttpRequest chunked =
                ask.POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))).build();
            show(HttpClient.newHttpClient().send(chunked, BodyHandlers.ofString()));
        }
    }

    private static void show(HttpResponse<String> answer) {
        System.out.println(answer.version() + " " + answer.statusCode() + " "
            + answer.body().replace("\n", "\\n"));
    }
}
