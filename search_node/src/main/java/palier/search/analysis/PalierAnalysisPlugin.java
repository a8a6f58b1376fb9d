package palier.search.analysis;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;

import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.CharArraySet;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.fr.FrenchAnalyzer;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.AbstractIndexAnalyzerProvider;
import org.elasticsearch.index.analysis.Analysis;
import org.elasticsearch.index.analysis.AnalyzerProvider;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.RestHandler;

/**
 * What Palier needs of the official modules that are not published as jars: two analysers and {@code GET /}.
 *
 * <p>The analysers are Lucene's own, under the names and with the two options ({@code stopwords}, {@code stem_exclusion}) that
 * the official image has, so that an index behaves the same on both.
 */
public final class PalierAnalysisPlugin extends Plugin implements AnalysisPlugin, ActionPlugin {
    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public Map<String, AnalysisProvider<AnalyzerProvider<? extends Analyzer>>> getAnalyzers() {
        return Map.of(
            "english", language(EnglishAnalyzer.getDefaultStopSet(), EnglishAnalyzer::new),
            "french", language(FrenchAnalyzer.getDefaultStopSet(), FrenchAnalyzer::new));
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices services, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> hasFeature) {
        return List.of(new RootHandler(() -> cluster.state().metadata().clusterUUID(), services.settings()));
    }

    private static AnalysisProvider<AnalyzerProvider<? extends Analyzer>> language(
        CharArraySet defaultStopWords, AnalyzerFactory factory) {
        return (index, environment, name, settings) ->
            new LanguageAnalyzer(name, build(environment, settings, defaultStopWords, factory));
    }

    private static Analyzer build(
        Environment environment, Settings settings, CharArraySet defaultStopWords, AnalyzerFactory factory) {
        return factory.create(
            Analysis.parseStopWords(environment, settings, defaultStopWords),
            Analysis.parseStemExclusion(settings, CharArraySet.EMPTY_SET));
    }

    @FunctionalInterface
    private interface AnalyzerFactory {
        Analyzer create(CharArraySet stopWords, CharArraySet stemExclusion);
    }

    private static final class LanguageAnalyzer extends AbstractIndexAnalyzerProvider<Analyzer> {
        private final Analyzer analyzer;

        LanguageAnalyzer(String name, Analyzer analyzer) {
            super(name);
            this.analyzer = analyzer;
        }

        @Override
        public Analyzer get() {
            return analyzer;
        }
    }
}
