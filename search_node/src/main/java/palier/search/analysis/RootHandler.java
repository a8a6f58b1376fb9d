package palier.search.analysis;

import java.io.IOException;
import java.util.List;
import java.util.function.Supplier;

import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterName;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.IndexVersion;
import org.elasticsearch.node.Node;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

import static org.elasticsearch.rest.RestRequest.Method.GET;
import static org.elasticsearch.rest.RestRequest.Method.HEAD;

/** Answers {@code GET /} in the shape of the official node: clients ask it who they talk to. */
final class RootHandler extends BaseRestHandler {
    private final Supplier<String> clusterId;
    private final Settings settings;

    RootHandler(Supplier<String> clusterId, Settings settings) {
        this.clusterId = clusterId;
        this.settings = settings;
    }

    @Override
    public String getName() {
        return "palier_root";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(GET, "/"), new Route(HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        return channel -> channel.sendResponse(new RestResponse(RestStatus.OK, describe(channel.newBuilder())));
    }

    private XContentBuilder describe(XContentBuilder body) throws IOException {
        body.prettyPrint().startObject();
        body.field("name", Node.NODE_NAME_SETTING.get(settings));
        body.field("cluster_name", ClusterName.CLUSTER_NAME_SETTING.get(settings).value());
        body.field("cluster_uuid", clusterId.get());
        version(body.startObject("version"), Build.current()).endObject();
        return body.field("tagline", "You Know, for Search").endObject();
    }

    private static XContentBuilder version(XContentBuilder body, Build build) throws IOException {
        return body.field("number", build.qualifiedVersion())
            .field("build_flavor", build.flavor())
            .field("build_type", build.type().displayName())
            .field("build_hash", build.hash())
            .field("build_date", build.date())
            .field("build_snapshot", build.isSnapshot())
            .field("lucene_version", IndexVersion.current().luceneVersion().toString())
            .field("minimum_wire_compatibility_version", build.minWireCompatVersion())
            .field("minimum_index_compatibility_version", build.minIndexCompatVersion());
    }
}
