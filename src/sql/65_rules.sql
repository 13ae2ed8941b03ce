-- The rules of the decision tree: those that are shipped, and the guard that refuses wrong ones.

CREATE FUNCTION sync.install_part_65_rules() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $install$
BEGIN
	COMMENT ON COLUMN sync.conflict_rule.field IS 'What it speaks of: a class (price, inventory, description), a field (tags, barcode), a path (variants[SKU].price), or one of these with * for anything (metafields.custom.*).';
	COMMENT ON COLUMN sync.conflict_rule.action IS 'threshold and max_age: numbers of the tree, in parameters. prefer_shopify, prefer_local, prefer_etilize (ours, where the feed has just updated it), manual: who wins.';
	COMMENT ON COLUMN sync.conflict_rule.parameters IS 'price: percent, of (smaller, larger, local, shopify), absolute, cumulative_percent. inventory: units, delta_merge, wait_for_erp. description: share. max_age: hours. None for the other actions.';
	COMMENT ON COLUMN sync.conflict_rule.priority IS 'Among rules that name the field equally exactly and ask equally much of the product, the highest counts; two of the same that differ make a person decide.';
	COMMENT ON COLUMN sync.conflict_rule.connection IS 'Only for this shop; null: for all.';
	COMMENT ON COLUMN sync.conflict_rule.vendor IS 'Only for products of this vendor, whatever the case of its letters; null: of all.';

	-- Tables outlive the extension, so the check is asked for by name.
	CREATE OR REPLACE FUNCTION sync.conflict_rule_guard() RETURNS trigger
	LANGUAGE plpgsql SET search_path = '' AS $$
	BEGIN
		IF length(NEW.name) > 60 OR length(NEW.field) > 300 OR length(NEW.parameters::text) > 1000 THEN
			RAISE EXCEPTION 'rule "%" is too long', left(NEW.name, 60)
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'A name has up to 60 characters, a field up to 300, parameters up to 1000.';
		END IF;
		IF to_regprocedure('sync.rule_check(jsonb)') IS NOT NULL THEN
			EXECUTE 'SELECT sync.rule_check($1)' USING jsonb_build_array(jsonb_build_object('name', NEW.name, 'field', NEW.field,
				'connection', NEW.connection, 'vendor', NEW.vendor, 'product_type', NEW.product_type, 'action', NEW.action,
				'parameters', NEW.parameters, 'priority', NEW.priority));
		END IF;
		NEW.updated_at := now();
		IF current_user = 'sync_worker' THEN
			NEW.updated_by := 'product_sync';
		ELSE
			SELECT d.decided_by INTO NEW.updated_by FROM sync.decision_by() d;
		END IF;
		RETURN NEW;
	END
	$$;
	REVOKE ALL ON FUNCTION sync.conflict_rule_guard() FROM PUBLIC;
	CREATE OR REPLACE TRIGGER conflict_rule_guard BEFORE INSERT OR UPDATE ON sync.conflict_rule
		FOR EACH ROW EXECUTE FUNCTION sync.conflict_rule_guard();

	INSERT INTO sync.conflict_rule (name, field, action, parameters, note) VALUES
		('price_threshold', 'price', 'threshold', '{"percent": 5, "of": "smaller", "absolute": null, "cumulative_percent": 10}',
		 'Prices less than percent apart: Shopify''s. As far apart or farther, or absolute apart, or Shopify''s that far from the price that was approved last: a person.'),
		('inventory_difference', 'inventory', 'threshold', '{"units": 10, "delta_merge": false, "wait_for_erp": true}',
		 'Stock above 0 less than units apart: the lower one; else a person. delta_merge adds up what both sides sold: only where Shopify''s orders do not reach the ERP.'),
		('description_shrink', 'description', 'threshold', '{"share": 0.8}',
		 'A feed''s description that lost this share of its text, or more, goes to a person.'),
		('snapshot_age', '*', 'max_age', '{"hours": 24}', 'What was read longer ago than this decides nothing.')
	ON CONFLICT (name) DO NOTHING;
END
$install$;
