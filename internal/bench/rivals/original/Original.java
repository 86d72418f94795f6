import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.jms.DeliveryMode;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnectionFactory;

/**
 * Drains modulo.outbox row by row: each of K workers selects a thousand pending rows of its own by the remainder of the
 * id, and for one row after the other sends a persistent message, which returns when the broker has confirmed it, and
 * marks the row done. It obeys `modulo bench`, see internal/bench/rival.go.
 */
public final class Original {
    private static final int BATCH = 1000;
    private static final int CLOCK = 500; // milliseconds

    private final Connection database;
    private final PreparedStatement fetch;
    private final PreparedStatement mark;
    private final Session session;
    private final MessageProducer producer;

    private Original(int worker, int workers, String broker, String queue) throws Exception {
        database = connect();
        fetch = database.prepareStatement("select id, event_id::text, payload from modulo.outbox where done_at is null"
                + (workers == 1 ? "" : " and id % " + workers + " = " + worker) + " order by id limit " + BATCH);
        mark = database.prepareStatement("update modulo.outbox set done_at = now() where id = ?");
        var connection = new ActiveMQConnectionFactory("tcp://" + broker).createConnection();
        connection.start();
        session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        producer = session.createProducer(session.createQueue(queue));
        producer.setDeliveryMode(DeliveryMode.PERSISTENT); // outside of transactions, send waits for the broker
    }

    private static Connection connect() throws Exception {
        URI address = URI.create(System.getenv("MODULO_DATABASE_URL"));
        String[] login = address.getUserInfo().split(":", 2);
        return DriverManager.getConnection("jdbc:postgresql://" + address.getHost() + ":" + address.getPort()
                + address.getPath(), login[0], login[1]);
    }

    private Void drain() throws Exception {
        while (pass() > 0) {
        }
        return null;
    }

    /** Drains whenever the clock ticks. */
    private Void work(long milliseconds) throws Exception {
        long end = System.currentTimeMillis() + milliseconds;
        for (long next = System.currentTimeMillis(); next < end; next += CLOCK) {
            Thread.sleep(Math.max(0, next - System.currentTimeMillis()));
            drain();
        }
        return drain();
    }

    private int pass() throws Exception {
        int rows = 0;
        try (ResultSet pending = fetch.executeQuery()) {
            for (; pending.next(); rows++) {
                TextMessage message = session.createTextMessage(pending.getString(3));
                message.setStringProperty("event_id", pending.getString(2));
                producer.send(message);
                mark.setLong(1, pending.getLong(1));
                mark.executeUpdate();
            }
        }
        return rows;
    }

    public static void main(String[] arguments) throws Exception {
        int workers = Integer.parseInt(System.getenv("BENCH_WORKERS"));
        List<Original> all = new ArrayList<>();
        for (int worker = 0; worker < workers; worker++) {
            all.add(new Original(worker, workers, System.getenv("BENCH_BROKER"), System.getenv("BENCH_QUEUE")));
        }
        ExecutorService threads = Executors.newFixedThreadPool(workers);
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String command = commands.readLine(); command != null; command = commands.readLine()) {
            try {
                List<Callable<Void>> work = new ArrayList<>();
                String[] words = command.split(" ");
                for (Original worker : all) {
                    work.add(words[0].equals("work") ? () -> worker.work(Long.parseLong(words[1])) : worker::drain);
                }
                for (Future<Void> done : threads.invokeAll(work)) {
                    done.get();
                }
                System.out.println("ok");
            } catch (Exception problem) {
                problem.printStackTrace();
                System.out.println(problem.toString().replace('\n', ' '));
            }
        }
        System.exit(0); // what the connections have open ends with us
    }
}
