// UniECS candidates in a funnel of your own, from Java 17 or newer, without libraries.
//
//   java Recall.java http://127.0.0.1:8080 "striped red mug" shopper-1 mug-1,mug-2
//
// The last word is your own result, ready after 100 ms, as results are; "-" reads it from standard input.
//
// The rule: the search for candidates begins with the shopper's question, runs beside your own
// search, and is never waited for. Whatever happens to it, your own result is served.

import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.UUID;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public final class Recall {
    /** What a hung service may cost a shopper: the call that merges takes a few ms, the search ran beside the base. */
    private static final Duration JOIN_WITHIN =
        Duration.ofMillis(Long.parseLong(System.getenv().getOrDefault("RECALL_JOIN_MS", "50")));
    // Nobody waits for this one; so that a hung service does not gather them.
    private static final Duration BESIDE_WITHIN = Duration.ofSeconds(10);
    // A service has a JSON library; the example has none, and reads the one field that it needs.
    private static final Pattern PRODUCT = Pattern.compile("\"product_id\":\"((?:[^\"\\\\]|\\\\.)*)\"");

    // HTTP/1.1: one long-lived connection per request under way, kept by the client.
    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final String service;

    public Recall(String service) {
        this.service = service;
    }

    /** Your result, with what UniECS adds for this shopper. */
    public List<String> search(String text, String unitId, String sessionId, Supplier<List<String>> ownSearch) {
        String question = "\"text\":%s,\"limit\":20,\"unit_id\":%s,\"session_id\":%s,\"query_id\":%s"
            .formatted(quoted(text), quoted(unitId), quoted(sessionId), quoted(UUID.randomUUID().toString()));
        client.sendAsync(post("/recall/ahead", "{" + question + "}", BESIDE_WITHIN), BodyHandlers.discarding());
        List<String> base = ownSearch.get();
        try {
            // The question once more: where the first call failed or is still on its way, there is nothing to join.
            String ids = base.stream().map(Recall::quoted).collect(Collectors.joining(","));
            String body = "{%s,\"base\":[%s],\"wait_ms\":0}".formatted(question, ids);
            HttpResponse<String> answer = client.send(post("/recall", body, JOIN_WITHIN), BodyHandlers.ofString());
            return answer.statusCode() == 200 ? productIds(answer.body()) : base;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return base;
        } catch (Exception error) {
            return base;
        }
    }

    private HttpRequest post(String path, String body, Duration within) {
        return HttpRequest.newBuilder(URI.create(service + path))
            .timeout(within).header("content-type", "application/json").POST(BodyPublishers.ofString(body)).build();
    }

    private static List<String> productIds(String json) {
        List<String> found = new ArrayList<>();
        for (Matcher each = PRODUCT.matcher(json); each.find(); ) {
            found.add(plain(each.group(1)));
        }
        return found;
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char sign : text.toCharArray()) {
            if (sign == '"' || sign == '\\') {
                out.append('\\').append(sign);
            } else if (sign < ' ') {
                out.append("\\u%04x".formatted((int) sign));
            } else {
                out.append(sign);
            }
        }
        return out.append('"').toString();
    }

    private static String plain(String escaped) {
        Matcher each = Pattern.compile("\\\\(u[0-9a-fA-F]{4}|.)").matcher(escaped);
        return each.replaceAll(found -> Matcher.quoteReplacement(switch (found.group(1).charAt(0)) {
            case 'u' -> String.valueOf((char) Integer.parseInt(found.group(1).substring(1), 16));
            case 'n' -> "\n";
            case 't' -> "\t";
            case 'r' -> "\r";
            case 'b' -> "\b";
            case 'f' -> "\f";
            default -> found.group(1);
        }));
    }

    public static void main(String[] told) {
        Supplier<List<String>> ownSearch = () -> {
            if (told[3].equals("-")) {
                return List.of(new Scanner(System.in, UTF_8).nextLine().split(","));
            }
            try {
                Thread.sleep(100);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
            return List.of(told[3].split(","));
        };
        new Recall(told[0]).search(told[1], told[2], "visit-1", ownSearch).forEach(System.out::println);
    }
}
