import java.io.InputStream;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.impl.DefaultCamelContext;

/** W3 and W5 on Apache Camel: Peer w3|w5 INBOX OUTBOX. Says `ready` once the routes run. Nothing is synced, nothing kept. */
public class Peer {
    public static void main(String[] arguments) throws Exception {
        String work = arguments[0], inbox = arguments[1], outbox = arguments[2];
        var camel = new DefaultCamelContext();
        // Else it holds each body in memory, and never ends on 5 GB.
        camel.setStreamCaching(false);
        camel.addRoutes(new RouteBuilder() {
            @Override
            public void configure() {
                var route = from("file:" + inbox + "?delete=true");
                if (work.equals("w3")) {
                    route.process(exchange -> {
                        String text = exchange.getMessage().getBody(String.class);
                        exchange.getMessage().setBody(text.toUpperCase());
                    });
                } else {
                    // By stream through the route: there is no command between, because `exec` holds all output in memory.
                    route.process(exchange -> exchange.getMessage().setBody(exchange.getMessage().getBody(InputStream.class)));
                }
                route.to("file:" + outbox + "?tempPrefix=.");
            }
        });
        camel.start();
        System.out.println("ready");
        Thread.currentThread().join();
    }
}
