package palier.search.node;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one Elasticsearch node in this process and closes it on SIGTERM.
 *
 * <p>It does what the official launcher does after its own checks: read the settings, set up logging, load the modules, start.
 * Left out, and the price of it: no security manager or entitlements around modules (there are only our two), no
 * bootstrap checks (they refuse small machines, which is what this node is for). Production is the official image.
 *
 * <p>Arguments: {@code HOME [-Ekey=value ...]}.
 */
public final class SearchNode {
    private SearchNode() {}

    public static void main(String[] arguments) throws Exception {
        Environment environment = environment(Path.of(arguments[0]), settings(arguments));
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        LogConfigurator.configure(environment, true);

        Node node = new Node(environment, modules(environment));
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node, closed), "close-node"));
        node.start();
        closed.await();
    }

    private static Map<String, String> settings(String[] arguments) {
        Map<String, String> settings = new HashMap<>();
        for (int i = 1; i < arguments.length; i++) {
            int equals = arguments[i].indexOf('=');
            if (!arguments[i].startsWith("-E") || equals < 0) {
                throw new IllegalArgumentException("expected -Ekey=value, got " + arguments[i]);
            }
            settings.put(arguments[i].substring(2, equals), arguments[i].substring(equals + 1));
        }
        return settings;
    }

    private static Environment environment(Path home, Map<String, String> settings) {
        settings.put("path.home", home.toAbsolutePath().toString());
        return InternalSettingsPreparer.prepareEnvironment(
            Settings.EMPTY, settings, home.resolve("config").toAbsolutePath(), () -> "palier-search");
    }

    private static PluginsLoader modules(Environment environment) {
        return PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir(), true),
            PluginsLoader.loadPluginsBundles(environment.pluginsDir(), true),
            Map.of(),
            false);
    }

    private static void close(Node node, CountDownLatch closed) {
        try {
            node.close();
        } catch (Exception error) {
            System.err.println("the node did not close cleanly: " + error);
        } finally {
            closed.countDown();
        }
    }
}
