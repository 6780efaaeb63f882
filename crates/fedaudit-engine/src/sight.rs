//! Whether a stream can see what a question asks for.
//!
//! Blind spots speak of columns with closed vocabularies (`action`, `outcome`), so the filter is simply tried on every
//! combination of their words, by SQL's own evaluation: `<>`, `NOT IN`, `lower(outcome) = …` and `CASE` need no rules.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::create_physical_expr;
use fedaudit_core::columns::Table;
use fedaudit_core::{Action, BlindSpot, Operator, Outcome, Predicate};

/// What a stream can see of what is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sight {
    /// Nothing says that it is hidden.
    #[default]
    Clear,
    /// Only what the product itself could not name (`other`, `unknown`) can be seen of it: read, but never called empty.
    Dim,
    /// Nothing: it is not even read.
    Blind,
}

/// What sessions can never show where they are rebuilt from events, or listed by a product that knows live ones only.
pub(crate) fn refused_logins() -> BlindSpot {
    BlindSpot {
        predicates: vec![Predicate::any_of("outcome", [Outcome::Failure.as_str(), Outcome::Unknown.as_str()])],
        reason: "only a login that succeeded opens a session; refused ones are rows of events".to_owned(),
    }
}

/// The kinds of rows that a filter admits: every combination of words that it does not exclude.
#[derive(Clone, Debug)]
pub(crate) struct Admitted(Vec<(Action, Outcome)>);

impl Admitted {
    /// Tries a filter's conjuncts on every combination. One that needs anything else excludes nothing.
    pub(crate) fn of(conjuncts: &[&Expr]) -> Result<Self> {
        let all: Vec<(Action, Outcome)> =
            Action::ALL.iter().flat_map(|action| Outcome::ALL.iter().map(move |outcome| (*action, *outcome))).collect();
        let actions: StringArray = all.iter().map(|(action, _)| Some(action.as_str())).collect();
        let outcomes: StringArray = all.iter().map(|(_, outcome)| Some(outcome.as_str())).collect();
        let domain = Domain::new([("action", actions), ("outcome", outcomes)])?;
        let mut admitted = vec![true; all.len()];
        for conjunct in conjuncts {
            if let Some(mask) = domain.admits(conjunct) {
                admitted.iter_mut().zip(&mask).for_each(|(admitted, mask)| *admitted &= mask.unwrap_or(false));
            }
        }
        Ok(Self(all.into_iter().zip(admitted).filter_map(|(kind, admitted)| admitted.then_some(kind)).collect()))
    }

    /// Rows that stand for sessions: `action` is none of their columns, it is what opened them.
    pub(crate) fn opened_by(&self, opens: &[Action]) -> Self {
        Self(self.0.iter().copied().filter(|(action, _)| opens.contains(action)).collect())
    }

    /// What remains to be seen beside these hidden rows. A spot with conditions on other columns counts where the filter's
    /// own conditions (`asked`) lie within them.
    pub(crate) fn sight<'s>(&self, spots: impl IntoIterator<Item = &'s [Predicate]>, asked: &[Predicate]) -> Sight {
        let spots: Vec<&[Predicate]> =
            spots.into_iter().filter(|spot| !spot.is_empty() && of_other_columns(spot, asked)).collect();
        if spots.is_empty() || self.0.is_empty() {
            return Sight::Clear;
        }
        let seen = |(action, outcome): &(Action, Outcome)| {
            !spots.iter().any(|spot| lists(spot, "action", action.as_str()) && lists(spot, "outcome", outcome.as_str()))
        };
        let named = |(action, outcome): &&(Action, Outcome)| *action != Action::Other && *outcome != Outcome::Unknown;
        if !self.0.iter().any(seen) {
            Sight::Blind
        } else if self.0.iter().any(|kind| named(&kind)) && !self.0.iter().filter(named).any(seen) {
            Sight::Dim
        } else {
            Sight::Clear
        }
    }
}

/// Whether the spot's condition on this column, if it has one, covers the word.
fn lists(spot: &[Predicate], column: &str, word: &str) -> bool {
    spot.iter()
        .filter(|hidden| hidden.column == column)
        .all(|hidden| hidden.operator == Operator::In && hidden.texts().is_some_and(|texts| texts.contains(&word)))
}

/// Whether the filter asks only for values that the spot's conditions on columns without a vocabulary name.
fn of_other_columns(spot: &[Predicate], asked: &[Predicate]) -> bool {
    spot.iter().filter(|hidden| !["action", "outcome"].contains(&hidden.column.as_str())).all(|hidden| {
        hidden.operator == Operator::In
            && asked.iter().any(|asked| {
                asked.column == hidden.column
                    && asked.operator == Operator::In
                    && asked.values.iter().all(|value| hidden.values.contains(value))
            })
    })
}

/// A condition that no word of a closed vocabulary can satisfy: a mistake that would look like an empty answer.
#[derive(Debug)]
pub(crate) struct Impossible {
    /// The condition.
    pub(crate) condition: String,
    /// The column with the vocabulary.
    pub(crate) column: &'static str,
    /// Its words.
    pub(crate) words: Vec<&'static str>,
}

/// The first conjunct about one closed column of the table that excludes each of its words.
pub(crate) fn impossible(conjuncts: &[&Expr], table: &Table) -> Result<Option<Impossible>> {
    for conjunct in conjuncts {
        let columns = conjunct.column_refs();
        let [name] = columns.iter().map(|column| column.name()).collect::<Vec<_>>()[..] else { continue };
        let Some(column) = table.column(name).filter(|column| !(column.words)().is_empty()) else { continue };
        if !compares_with_text(conjunct)? {
            continue;
        }
        let words = (column.words)();
        let values: StringArray = words.iter().map(|word| Some(*word)).chain(column.nullable.then_some(None)).collect();
        let domain = Domain::new([(column.name, values)])?;
        if domain.admits(conjunct).is_some_and(|mask| mask.true_count() == 0) {
            return Ok(Some(Impossible { condition: conjunct.to_string(), column: column.name, words }));
        }
    }
    Ok(None)
}

fn compares_with_text(condition: &Expr) -> Result<bool> {
    condition.exists(|part| Ok(matches!(part, Expr::Literal(value, _) if value.try_as_str().flatten().is_some())))
}

/// Rows to try a condition on.
struct Domain {
    schema: DFSchema,
    rows: RecordBatch,
}

impl Domain {
    fn new<const N: usize>(columns: [(&str, StringArray); N]) -> Result<Self> {
        let fields: Vec<Field> =
            columns.iter().map(|(name, values)| Field::new(*name, DataType::Utf8, values.null_count() > 0)).collect();
        let arrays = columns.into_iter().map(|(_, values)| Arc::new(values) as ArrayRef).collect();
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        Ok(Self { schema: DFSchema::try_from(schema)?, rows })
    }

    /// Which rows the condition admits; `None` where it is about other columns, too, or cannot be tried by itself.
    fn admits(&self, condition: &Expr) -> Option<BooleanArray> {
        let columns = condition.column_refs();
        let known = |column: &&Column| self.schema.has_column_with_unqualified_name(column.name());
        if columns.is_empty() || !columns.iter().all(known) || condition.is_volatile() {
            return None;
        }
        // What fails here (a subquery, a value that does not fit) is for SQL to say when it comes to it.
        let (properties, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let condition = create_physical_expr(condition, &self.schema, &properties, &planning).ok()?;
        let values = condition.evaluate(&self.rows).and_then(|value| value.into_array(self.rows.num_rows())).ok()?;
        values.as_boolean_opt().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::functions::string::expr_fn::lower;
    use datafusion::prelude::{col, lit};
    use fedaudit_core::rows::EVENTS;

    fn sight(filter: &Expr, spots: &[Vec<Predicate>], asked: &[Predicate]) -> Sight {
        let conjuncts = datafusion::logical_expr::utils::split_conjunction(filter);
        Admitted::of(&conjuncts).unwrap().sight(spots.iter().map(Vec::as_slice), asked)
    }

    fn no_failures() -> Vec<Vec<Predicate>> {
        vec![vec![Predicate::any_of("outcome", ["failure"])]]
    }

    #[test]
    fn however_the_hidden_rows_are_asked_for() {
        let outcome = || col("outcome");
        for filter in [
            outcome().eq(lit("failure")),
            outcome().not_eq(lit("success")).and(outcome().not_eq(lit("unknown"))),
            lower(outcome()).eq(lit("failure")),
            outcome().like(lit("fail%")),
            outcome().in_list(vec![lit("success"), lit("unknown")], true),
            outcome().eq(lit("failure")).and(col("user_name").eq(lit("ana"))),
            outcome().eq(lit("failure")).or(outcome().eq(lit("failure")).and(col("action").eq(lit("auth.login")))),
        ] {
            assert_eq!(sight(&filter, &no_failures(), &[]), Sight::Blind, "{filter}");
        }
        for filter in [outcome().not_eq(lit("success")), outcome().in_list(vec![lit("failure"), lit("unknown")], false)]
        {
            assert_eq!(sight(&filter, &no_failures(), &[]), Sight::Dim, "{filter}");
        }
        for filter in [
            outcome().eq(lit("unknown")),
            outcome().eq(lit("success")),
            outcome().in_list(vec![lit("failure"), lit("success")], false),
            outcome().eq(lit("failure")).or(col("user_name").eq(lit("ana"))),
            col("user_name").eq(lit("ana")),
        ] {
            assert_eq!(sight(&filter, &no_failures(), &[]), Sight::Clear, "{filter}");
        }
    }

    #[test]
    fn several_spots_hide_together() {
        let spots = vec![
            vec![Predicate::any_of("action", ["auth.login"]), Predicate::any_of("outcome", ["failure"])],
            vec![Predicate::any_of("action", ["config.read"])],
        ];
        let login = || col("action").eq(lit("auth.login"));
        assert_eq!(sight(&login().and(col("outcome").eq(lit("failure"))), &spots, &[]), Sight::Blind);
        assert_eq!(sight(&login(), &spots, &[]), Sight::Clear);
        let both = col("action").in_list(vec![lit("auth.login"), lit("config.read")], false);
        assert_eq!(sight(&both.and(col("outcome").eq(lit("failure"))), &spots, &[]), Sight::Blind);
    }

    #[test]
    fn other_columns_count_by_their_values() {
        let spots = vec![vec![Predicate::any_of("protocol", ["NFS", "ISCSI"])]];
        let filter = col("protocol").eq(lit("NFS"));
        assert_eq!(sight(&filter, &spots, &[Predicate::any_of("protocol", ["NFS"])]), Sight::Blind);
        assert_eq!(sight(&filter, &spots, &[Predicate::any_of("protocol", ["NFS", "SMB"])]), Sight::Clear);
        assert_eq!(sight(&col("action").eq(lit("file.read")), &spots, &[]), Sight::Clear);
    }

    #[test]
    fn a_word_that_does_not_exist_is_a_mistake() {
        let typo = col("outcome").eq(lit("failed"));
        let found = impossible(&[&typo], &EVENTS).unwrap().unwrap();
        assert_eq!((found.column, found.words.as_slice()), ("outcome", ["success", "failure", "unknown"].as_slice()));
        let unknown = col("outcome").is_null();
        for possible in [col("outcome").not_eq(lit("failed")), col("user_name").eq(lit("failed")), unknown] {
            assert!(impossible(&[&possible], &EVENTS).unwrap().is_none(), "{possible}");
        }
    }
}
