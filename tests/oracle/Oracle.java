import com.jayway.jsonpath.Configuration;
import com.jayway.jsonpath.JsonPath;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import net.minidev.json.JSONObject;
import net.minidev.json.JSONValue;
import net.minidev.json.parser.JSONParser;
import org.apache.velocity.VelocityContext;
import org.apache.velocity.app.VelocityEngine;
import org.apache.velocity.app.event.EventCartridge;
import org.apache.velocity.app.event.InvalidReferenceEventHandler;
import org.apache.velocity.context.Context;
import org.apache.velocity.util.introspection.Info;

/**
 * Answers questions, one JSON object a line: {"template", "variables"} by Velocity 1.7 under AWS's rule for references
 * that lead nowhere, {"path", "json"} by json-path. An answer has "text" or "error".
 */
public final class Oracle {
    /** AWS: what leads nowhere is the empty string. */
    private static final class Empty implements InvalidReferenceEventHandler {
        public Object invalidGetMethod(Context c, String reference, Object object, String property, Info i) {
            return "";
        }

        public boolean invalidSetMethod(Context c, String left, String right, Info i) {
            return false;
        }

        public Object invalidMethod(Context c, String reference, Object object, String method, Info i) {
            return "";
        }
    }

    private static VelocityEngine engine() throws Exception {
        VelocityEngine engine = new VelocityEngine();
        engine.setProperty("runtime.log.logsystem.class", "org.apache.velocity.runtime.log.NullLogChute");
        engine.setProperty("directive.foreach.maxloops", "1000");
        engine.init();
        return engine;
    }

    private static Object json(String text) throws Exception {
        return new JSONParser(JSONParser.MODE_PERMISSIVE).parse(text, JSONValue.defaultReader.DEFAULT_ORDERED);
    }

    @SuppressWarnings("unchecked")
    private static String render(VelocityEngine engine, String template, String variables) throws Exception {
        VelocityContext context = new VelocityContext();
        for (Map.Entry<String, Object> entry : ((Map<String, Object>) json(variables)).entrySet()) {
            context.put(entry.getKey(), entry.getValue());
        }
        EventCartridge cartridge = new EventCartridge();
        cartridge.addInvalidReferenceEventHandler(new Empty());
        cartridge.attachToContext(context);
        StringWriter out = new StringWriter();
        engine.evaluate(context, out, "t", template);
        return out.toString();
    }

    private static String read(String path, String document) {
        Object found = JsonPath.compile(path).read(document);
        if (found instanceof Map || found instanceof java.util.List) {
            return Configuration.defaultConfiguration().jsonProvider().toJson(found);
        }
        return String.valueOf(found);
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        VelocityEngine engine = engine();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JSONObject question = (JSONObject) new JSONParser(JSONParser.MODE_PERMISSIVE).parse(line);
            JSONObject answer = new JSONObject();
            try {
                if (question.containsKey("path")) {
                    answer.put("text", read((String) question.get("path"), (String) question.get("json")));
                } else {
                    String template = (String) question.get("template");
                    // An engine keeps macros from one template to the next.
                    if (template.contains("macro")) {
                        engine = engine();
                    }
                    answer.put("text", render(engine, template, (String) question.get("variables")));
                }
            } catch (Throwable error) {
                answer.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
            }
            out.println(answer.toJSONString());
        }
    }
}
