import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Enumeration;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.DeliveryMode;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnectionFactory;

/**
 * Takes messages from ActiveMQ with ActiveMQ's own client and prints each as a line of JSON, once the broker has
 * confirmed that they are taken. It shares no code with what sent them.
 *
 * <p>Options, as in --count=5: --url (tcp://host:port), --queue (several separated by commas), --user and --password,
 * --count (how many are expected), --wait (milliseconds without a message after which to give up the count), --linger
 * (milliseconds without a message after which to end once the count is reached, so that surplus messages are seen).
 */
public final class Consumer {
    private static final int BATCH = 1000; // messages per transaction
    private static final int BATCH_CHARACTERS = 16 << 20; // of output per transaction, roughly
    private static final Set<String> OPTIONS =
            Set.of("url", "queue", "user", "password", "count", "wait", "linger");

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = parse(arguments);
        var factory = new ActiveMQConnectionFactory(
                options.get("user"), options.get("password"), options.get("url"));
        factory.getPrefetchPolicy().setQueuePrefetch(2 * BATCH);
        factory.setWatchTopicAdvisories(false); // needs no right on the advisory topics
        Connection connection = factory.createConnection();
        try (var out = new PrintStream(new BufferedOutputStream(System.out, 1 << 20), false, StandardCharsets.UTF_8)) {
            connection.start();
            Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
            MessageConsumer consumer = session.createConsumer(session.createQueue(options.get("queue")));
            drain(session, consumer, options, out);
        } finally {
            connection.close();
        }
    }

    private static Map<String, String> parse(String[] arguments) {
        Map<String, String> options = new HashMap<>(Map.of("count", "0", "wait", "60000", "linger", "500"));
        for (String argument : arguments) {
            int equals = argument.indexOf('=');
            if (!argument.startsWith("--") || equals < 0 || !OPTIONS.contains(argument.substring(2, equals))) {
                throw new IllegalArgumentException("unknown option " + argument);
            }
            options.put(argument.substring(2, equals), argument.substring(equals + 1));
        }
        return options;
    }

    private static void drain(Session session, MessageConsumer consumer, Map<String, String> options, PrintStream out)
            throws JMSException, IOException {
        long count = Long.parseLong(options.get("count"));
        long wait = Long.parseLong(options.get("wait"));
        long linger = Long.parseLong(options.get("linger"));
        var lines = new StringBuilder();
        for (long taken = 0, open = 0; ; taken++, open++) {
            boolean full = open == BATCH || lines.length() > BATCH_CHARACTERS;
            Message message = full ? null : consumer.receiveNoWait();
            if (message == null && open > 0) { // full, or about to wait, which must not keep a transaction open
                session.commit();
                out.append(lines);
                out.flush();
                lines.setLength(0);
                open = 0;
            }
            if (message == null) {
                message = consumer.receive(taken < count ? wait : linger);
            }
            if (message == null) {
                return;
            }
            describe(message, lines);
            lines.append('\n');
        }
    }

    private static void describe(Message message, StringBuilder json) throws JMSException {
        json.append('{');
        field(json, "destination", message.getJMSDestination().toString());
        field(json, "class", kind(message));
        json.append("\"persistent\":").append(message.getJMSDeliveryMode() == DeliveryMode.PERSISTENT).append(',');
        json.append("\"redelivered\":").append(message.getJMSRedelivered()).append(',');
        json.append("\"priority\":").append(message.getJMSPriority()).append(',');
        json.append("\"expiration\":").append(message.getJMSExpiration()).append(',');
        json.append("\"timestamp\":").append(message.getJMSTimestamp()).append(',');
        field(json, "message_id", message.getJMSMessageID());
        field(json, "correlation_id", message.getJMSCorrelationID());
        field(json, "type", message.getJMSType());
        field(json, "group_id", message.getStringProperty("JMSXGroupID"));
        if (message.getJMSReplyTo() != null) {
            field(json, "reply_to", message.getJMSReplyTo().toString());
        }
        body(message, json);
        properties(message, json);
        json.append('}');
    }

    private static String kind(Message message) {
        for (Class<?> type : message.getClass().getInterfaces()) {
            if (Message.class.isAssignableFrom(type)) {
                return type.getSimpleName();
            }
        }
        return message.getClass().getSimpleName();
    }

    /** A body that the client itself cannot read is reported as such: the message is there, but nobody can use it. */
    private static void body(Message message, StringBuilder json) {
        try {
            if (message instanceof TextMessage text) {
                field(json, "text", text.getText());
            } else if (message instanceof BytesMessage bytes) {
                byte[] body = new byte[(int) bytes.getBodyLength()];
                bytes.readBytes(body);
                field(json, "bytes", Base64.getEncoder().encodeToString(body));
            }
        } catch (JMSException e) {
            field(json, "unreadable", e.toString());
        }
    }

    private static void properties(Message message, StringBuilder json) throws JMSException {
        json.append("\"properties\":{");
        String separator = "";
        for (Enumeration<?> names = message.getPropertyNames(); names.hasMoreElements(); ) {
            String name = (String) names.nextElement();
            if (name.startsWith("JMSX")) { // the broker's, or shown as a field of its own
                continue;
            }
            Object value = message.getObjectProperty(name);
            json.append(separator);
            quote(json, name);
            json.append(":{\"type\":\"").append(value == null ? "null" : value.getClass().getSimpleName());
            json.append("\",\"value\":");
            quote(json, String.valueOf(value));
            json.append('}');
            separator = ",";
        }
        json.append('}');
    }

    /** Appends a name, its value and a comma; nothing if there is no value. */
    private static void field(StringBuilder json, String name, String value) {
        if (value == null) {
            return;
        }
        json.append('"').append(name).append("\":");
        quote(json, value);
        json.append(',');
    }

    private static void quote(StringBuilder json, String text) {
        json.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (c < ' ') {
                json.append(String.format("\\u%04x", (int) c));
            } else {
                json.append(c);
            }
        }
        json.append('"');
    }
}
